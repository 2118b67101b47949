// SPDX-License-Identifier: MIT
//
// Clang's thread-safety analysis (-Wthread-safety), as in marl and Abseil: which lock protects a field, which function
// wants it held. Checked by Clang at compile time; for GCC they are comments that cannot go stale.
#pragma once

#if defined(__clang__)
#define WEFT_ANNOTATE(x) __attribute__((x))
#else
#define WEFT_ANNOTATE(x)
#endif

#define WEFT_CAPABILITY(name) WEFT_ANNOTATE(capability(name))
#define WEFT_SCOPED_CAPABILITY WEFT_ANNOTATE(scoped_lockable)
#define WEFT_GUARDED_BY(lock) WEFT_ANNOTATE(guarded_by(lock))
#define WEFT_REQUIRES(...) WEFT_ANNOTATE(requires_capability(__VA_ARGS__))
#define WEFT_EXCLUDES(...) WEFT_ANNOTATE(locks_excluded(__VA_ARGS__))
#define WEFT_ACQUIRE(...) WEFT_ANNOTATE(acquire_capability(__VA_ARGS__))
#define WEFT_RELEASE(...) WEFT_ANNOTATE(release_capability(__VA_ARGS__))
#define WEFT_TRY_ACQUIRE(...) WEFT_ANNOTATE(try_acquire_capability(__VA_ARGS__))
#define WEFT_NO_THREAD_SAFETY_ANALYSIS WEFT_ANNOTATE(no_thread_safety_analysis)
