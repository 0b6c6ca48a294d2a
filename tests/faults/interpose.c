/* A library laid between a daemon and the system, for tests: it can fail calls, move the clock, and remember what was
 * really on the disk. Loaded with LD_PRELOAD; everything it does is asked for by files in the folder $ENGRAM_FAULTS:
 *
 *   eio-sync, eio-write, full   these calls fail with EIO or ENOSPC while the file exists, on files below the folder
 *                               $ENGRAM_FAULTS_BELOW
 *   nocred                      getsockopt(SO_PEERCRED) fails
 *   clock                       seconds added to the time of day (not to the monotonic clock)
 *   trace                       when it exists at the start: lines of what happened, in order: "W token" a write to a
 *                               write-ahead log that holds the token for the first time, "S" its sync returned, "R token"
 *                               a reply is about to be sent that holds it. A token is TOK and eight digits.
 *   shadow/                     when it exists: the content of each file below as of its last sync, by inode, and the
 *                               names of each folder as of its last sync. What is not there a power cut would have lost.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *folder, *below;
static int trace = -1, shadow;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char seen[1000000 / 8 + 1];

#define REAL(name) ((__typeof__(&name))real(#name, &real_##name))
static void *real(const char *name, void **kept) {
    if (!*kept) *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}
static void *real_pwrite64, *real_write, *real_fsync, *real_fdatasync, *real_send, *real_getsockopt;

static void name_in(char *out, const char *name) { snprintf(out, 4096, "%s/%s", folder, name); }

static int asked(const char *name) {
    char path[4096];
    if (!folder) return 0;
    name_in(path, name);
    return syscall(SYS_access, path, F_OK) == 0;
}

__attribute__((constructor)) static void start(void) {
    char path[4096];
    folder = getenv("ENGRAM_FAULTS");
    below = getenv("ENGRAM_FAULTS_BELOW");
    if (!folder || !below) { folder = NULL; return; }
    shadow = asked("shadow");
    if (asked("trace")) {
        name_in(path, "trace");
        trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    }
}

static int watched(int fd, char *path) {
    char link[64];
    ssize_t n;
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = syscall(SYS_readlink, link, path, 4095);
    if (n <= 0) return 0;
    path[n] = 0;
    return strncmp(path, below, strlen(below)) == 0;
}

static int is_log(const char *path) {
    size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, "-wal") == 0;
}

static void tokens(const char *data, size_t size, char what) {
    const char *at = data, *end = data + size;
    char line[32];
    while ((at = memmem(at, end - at, "TOK", 3)) && end - at >= 11) {
        char digits[9] = {0};
        int number, n;
        memcpy(digits, at + 3, 8);
        number = atoi(digits) % 1000000;
        at += 11;
        if (what == 'W') {
            if (seen[number / 8] >> (number % 8) & 1) continue;
            seen[number / 8] |= 1 << (number % 8);
        }
        n = snprintf(line, sizeof line, "%c %s\n", what, digits);
        syscall(SYS_write, trace, line, n);
    }
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    char path[4096];
    int ours = watched(fd, path);
    if (ours && asked("full")) { errno = ENOSPC; return -1; }
    if (ours && asked("eio-write")) { errno = EIO; return -1; }
    if (ours && trace >= 0 && is_log(path)) {
        pthread_mutex_lock(&lock);
        tokens(data, size, 'W');
        pthread_mutex_unlock(&lock);
    }
    return REAL(pwrite64)(fd, data, size, at);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    char path[4096];
    if (folder && asked("full") && watched(fd, path)) { errno = ENOSPC; return -1; }
    return REAL(write)(fd, data, size);
}

static void keep_folder(int fd, const struct stat *found) {
    char path[4096];
    FILE *out;
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    struct dirent *one;
    if (!entries) return;
    snprintf(path, sizeof path, "%s/shadow/dir-%lu.new", folder, (unsigned long)found->st_ino);
    if ((out = fopen(path, "w"))) {
        char final[4096];
        while ((one = readdir(entries)))
            if (one->d_type == DT_REG) fprintf(out, "%lu %s\n", (unsigned long)one->d_ino, one->d_name);
        fclose(out);
        snprintf(final, sizeof final, "%s/shadow/dir-%lu", folder, (unsigned long)found->st_ino);
        rename(path, final);
    }
    closedir(entries);
}

static void keep_file(int fd, const struct stat *found) {
    char path[4096], final[4096], link[64];
    static char piece[1 << 16];
    int in, out;
    ssize_t n;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    snprintf(path, sizeof path, "%s/shadow/ino-%lu.new", folder, (unsigned long)found->st_ino);
    in = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    out = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    while (in >= 0 && out >= 0 && (n = syscall(SYS_read, in, piece, sizeof piece)) > 0) syscall(SYS_write, out, piece, n);
    if (in >= 0) syscall(SYS_close, in);
    if (out >= 0) syscall(SYS_close, out);
    snprintf(final, sizeof final, "%s/shadow/ino-%lu", folder, (unsigned long)found->st_ino);
    rename(path, final);
}

static int synced(int fd, int (*call)(int)) {
    char path[4096];
    struct stat found;
    int done, ours = watched(fd, path);
    if (ours && asked("eio-sync")) { errno = EIO; return -1; }
    done = call(fd);
    if (done || !ours || fstat(fd, &found)) return done;
    pthread_mutex_lock(&lock);
    if (shadow && S_ISDIR(found.st_mode)) keep_folder(fd, &found);
    if (shadow && S_ISREG(found.st_mode)) keep_file(fd, &found);
    if (trace >= 0 && is_log(path)) syscall(SYS_write, trace, "S\n", 2);
    pthread_mutex_unlock(&lock);
    return done;
}
int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

ssize_t send(int fd, const void *data, size_t size, int flags) {
    if (trace >= 0) {
        pthread_mutex_lock(&lock);
        tokens(data, size, 'R');
        pthread_mutex_unlock(&lock);
    }
    return REAL(send)(fd, data, size, flags);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
    if (level == SOL_SOCKET && option == SO_PEERCRED && asked("nocred")) { errno = ENOTCONN; return -1; }
    return REAL(getsockopt)(fd, level, option, value, size);
}

static long moved(void) {
    char path[4096], text[32] = {0};
    int fd;
    if (!folder) return 0;
    name_in(path, "clock");
    fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return atol(text);
}
int clock_gettime(clockid_t clock, struct timespec *out) {
    int done = syscall(SYS_clock_gettime, clock, out);
    if (!done && clock == CLOCK_REALTIME) out->tv_sec += moved();
    return done;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *out, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
