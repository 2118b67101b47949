// SPDX-License-Identifier: MIT
//
// Goroutines that fight over one word from several Ps, and do little else, come together on one P.
//
// What it costs to share a word between cores is the wire: its line, and those of what it guards, go to and fro, several for each move, 50 to
// 250 ns each, where one core alone takes 4 ns a move. So where the work between two moves takes less than such lines, one P gets through more
// of it than all of them together, and leaves the others free; and a word that one P alone moves has its bias (biased.h), which saves the locked
// instructions. Where the work takes more, goroutines had better stay where they are. (Four senders and four receivers, P = 2 on two CPUs,
// capacity 128: 54 ns an element, so 18, P = 1 12; with so much work on both sides that P = 1 takes 811 ns: 694 before, so 704. bench/README.md has
// what lies between.)
//
// Fights. Who loses a move to another P looks back at what its own P has done since it last paused, or stole: how many runtime calls, in how long.
// Was that *dense*, less for each than limits::gather_lines of what the word's line took to come (each pause measures it), it is a fight. So many of
// them within such a time, and few losses that were none, and the P that counts the last one is the word's *home*, and gives it its bias at once. From
// then on who loses elsewhere, in a dense interval, takes its goroutine home: into that P's inbox (park.cc). So does who comes from elsewhere to a bias,
// instead of taking it back.
//
// Thieves. A P without work steals what waits at home; that comes to the word, and goes back. So thefts from a ring are judged, by this alone: where
// one that was stolen has gone home, that ring is barred (theft.h), twice as long each time; then thieves come again, for one goroutine, called by
// sysmon. Were they to stay away, nobody would learn that the goroutines do more work by now. A thief judges by the P that it robs, whether that has been
// dense since the last theft, not by what it stole, whose first steps on another core are slow.
//
// The end of it. Visits that are not dense take the bias back, as ever. Where they outnumber the others by limits::gather_sparse the home is dissolved,
// and if it has not lasted there is no other for some time, twice as long each time. (Without that, work on the border between the two ways was slower
// than either: 1,046 ns where P = 1 took 616 and two Ps 903.) And the home moves: were there two groups on one P, beside one that idles, they
// would stay. So a thief that comes to the word makes its own P the home, if that has not moved for limits::gather_move_ns, twice as long each time. A
// group that is alone moves in vain then, some 100 us of fights.
//
// Limits. Decision 5 stands: who is on its way home lies in an inbox, and then in a ring that is barred, and sysmon watches both (sysmon.cc). Neither a
// thread, nor who is bound to a P, nor who may not switch is moved. Channels gather, by the losses of sends and receives, and who selects goes with them; a
// mutex does not. With more than two CPUs none of this has been measured.
//
// relaxed, all here: hints. What is lost is learned again; a word decides who moves it, wherever they run. A goroutine goes by the inbox (INBOX).
//
// Rejected: longer pauses for who loses, as long as the others get on (chan_core.cc, backoff): the words stay without a bias, and a locked instruction
// a move is half of the gain; 39 ns where this takes 24. A pause that ends when a P idles: no better. With eight lines for dense instead of two:
// work of some 500 ns was gathered, and took half as long again (1,348 ns an element instead of 831).
//
// Sources: Dice, Marathe, Shavit, "Lock Cohorting" (PPoPP 2012); Hendler, Incze, Shavit, Tzafrir, "Flat Combining and the Synchronization-Parallelism
// Tradeoff" (SPAA 2010): what is fought over is best worked on by one core at a time. There one thread does the others' work; goroutines come themselves.

#pragma once

#include "biased_word.h"
#include "g_m_p.h"

namespace weft::rt {

// What is known of the fights over a word.
struct gathering {
  atomic<std::uint64_t> home{0};  // which P (gather.cc); zero: none
  // With a home: when it became that. Without: when the first of the fights was counted.
  atomic<std::int64_t> since_ns{0};
  // With a home: not before this does it give the word a bias again. Without: not before this are fights counted.
  atomic<std::int64_t> not_before_ns{0};
  // With a home: how many more visits were not dense than were. Without: of the fights (count_loss).
  atomic<std::uint16_t> score{0};
  atomic<std::uint16_t> broken{0};  // homes that did not last, on end
  atomic<std::uint16_t> moves{0};   // of the home

  bool any() const { return home.load(relaxed) != 0; }
};

// The current goroutine of m, or whoever calls on it, has lost a move of w to another one, or has found another P's bias on it, and is in no section. True: it
// has been taken to another P, and the caller is on another M. False: on with it; a bias is to be taken back.
bool gather(M* m, biased_word& w, gathering& at, bool lost);

// m has paused after a loss, and asked for the word's line to be written.
void gather_look(M* m, const biased_word& w);

// m has just stolen from that P's ring.
void gather_stolen(M* m, P* from, std::int64_t now);

}  // namespace weft::rt
