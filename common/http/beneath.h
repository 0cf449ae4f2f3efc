/* Opening files by name beneath a directory, so that neither "..", nor a symbolic link, nor a
 * rename meanwhile leads out of it. */
#ifndef TWINHTTPD_COMMON_HTTP_BENEATH_H
#define TWINHTTPD_COMMON_HTTP_BENEATH_H

/* Who looks the names up. */
enum beneath_way {
    BENEATH_KERNEL, /* openat2(2), in one call */
    BENEATH_STEPS   /* we do, component by component: some three calls for each of them */
};

/* The way that works for this directory (O_PATH is enough): the kernel's, unless it lacks openat2
 * (Linux before 5.6) or a filter of system calls forbids it (profiles of container engines, some
 * of systemd's settings). -1 with errno set: the directory cannot be searched at all. */
int beneath_choose_way(int directory_fd);

/* Opens what path (relative, "." for the directory itself) names beneath the directory, for
 * reading. The descriptor is the caller's; nothing is waited for, as with O_NONBLOCK. Both ways
 * follow symbolic links that stay inside, at most 40, and tell the same errors: EXDEV for a way
 * out, ELOOP for too many links, and those of open(2). -1 with errno set on failure. */
int beneath_open(enum beneath_way way, int directory_fd, const char *path);

#endif
