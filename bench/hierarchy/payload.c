// SPDX-License-Identifier: MIT
//
// The program whose start is measured (start.h): no library, no loader. Its first instruction reads the cycle counter; then
// it writes the reading to descriptor 3 and ends.

#if defined(__x86_64__)
__asm__(
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "  rdtsc\n"
    "  shl $32, %rdx\n"
    "  or %rdx, %rax\n"
    "  push %rax\n"
    "  mov $1, %eax\n"  // write(3, &reading, 8)
    "  mov $3, %edi\n"
    "  mov %rsp, %rsi\n"
    "  mov $8, %edx\n"
    "  syscall\n"
    "  xor %edi, %edi\n"  // exit_group(0), or 1 when the write failed
    "  cmp $8, %rax\n"
    "  setne %dil\n"
    "  mov $231, %eax\n"
    "  syscall\n"
    ".size _start, . - _start\n");
#elif defined(__aarch64__)
__asm__(
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "  mrs x9, cntvct_el0\n"
    "  str x9, [sp, #-16]!\n"
    "  mov x0, #3\n"  // write(3, &reading, 8)
    "  mov x1, sp\n"
    "  mov x2, #8\n"
    "  mov x8, #64\n"
    "  svc #0\n"
    "  cmp x0, #8\n"  // exit_group(0), or 1 when the write failed
    "  cset x0, ne\n"
    "  mov x8, #94\n"
    "  svc #0\n"
    ".size _start, . - _start\n");
#endif
