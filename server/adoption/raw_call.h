/* System calls and a change of stack without the C library and without memory of its own, for code
 * that goes on when everything else has been unmapped. */
#ifndef TWINHTTPD_SERVER_ADOPTION_RAW_CALL_H
#define TWINHTTPD_SERVER_ADOPTION_RAW_CALL_H

#if defined(__x86_64__) && defined(__LP64__)
#define RAW_CALL_IS_KNOWN 1
#elif defined(__aarch64__) && defined(__LP64__) && defined(__AARCH64EL__)
#define RAW_CALL_IS_KNOWN 1
#else
#define RAW_CALL_IS_KNOWN 0
#endif

/* Coverage counts in memory, too. */
#define RAW_NOT_COUNTED __attribute__((no_profile_instrument_function))
#define RAW_INLINE      static inline __attribute__((always_inline)) RAW_NOT_COUNTED

#if RAW_CALL_IS_KNOWN && defined(__x86_64__)

/* What the kernel returns: a negative error number, if it fails. */
RAW_INLINE long raw_call(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long fourth __asm__("r10") = d;
    register long fifth __asm__("r8") = e;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
                     : "rcx", "r11", "memory");
    return result;
}

RAW_INLINE char *raw_thread_pointer(void)
{
    char *pointer;
    __asm__("mov %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

/* Calls run, which never returns, on the stack that ends at top. */
#define RAW_RUN_ON_STACK(top, run, argument)                                                       \
    __asm__ volatile("mov %0, %%rsp\n\t"                                                           \
                     "xor %%ebp, %%ebp\n\t"                                                        \
                     "call %P1\n\t"                                                                \
                     "ud2"                                                                         \
                     :                                                                             \
                     : "r"(top), "i"(run), "D"(argument)                                           \
                     : "memory")

#elif RAW_CALL_IS_KNOWN && defined(__aarch64__)

RAW_INLINE long raw_call(long number, long a, long b, long c, long d, long e)
{
    register long which __asm__("x8") = number;
    register long first __asm__("x0") = a;
    register long second __asm__("x1") = b;
    register long third __asm__("x2") = c;
    register long fourth __asm__("x3") = d;
    register long fifth __asm__("x4") = e;
    __asm__ volatile("svc #0"
                     : "+r"(first)
                     : "r"(which), "r"(second), "r"(third), "r"(fourth), "r"(fifth)
                     : "memory");
    return first;
}

RAW_INLINE char *raw_thread_pointer(void)
{
    char *pointer;
    __asm__("mrs %0, tpidr_el0" : "=r"(pointer));
    return pointer;
}

#define RAW_RUN_ON_STACK(top, run, argument)                                                       \
    do {                                                                                           \
        register void *first __asm__("x0") = (argument);                                           \
        register __typeof__(&(run)) target __asm__("x16") = (run);                                 \
        __asm__ volatile("mov sp, %0\n\t"                                                          \
                         "mov x29, xzr\n\t"                                                        \
                         "mov x30, xzr\n\t"                                                        \
                         "br %1"                                                                   \
                         :                                                                         \
                         : "r"(top), "r"(target), "r"(first)                                       \
                         : "memory");                                                              \
    } while (0)

#endif

#endif
