/*
 * Makes a request by each system call that moves bytes on a socket, and prints what it did: a line of JSON
 * for each request, as web_client.py does.
 *
 *   ways PORT FIRST          the server's port, and the number of the first request
 *
 * It needs no library, so that any compiler for x86 makes a 32-bit program of it as well (-m32). That one
 * has all calls of sockets twice: by numbers of their own, and by `socketcall`.
 */
typedef unsigned long word;

struct stretch { void *at; word len; };
struct message { void *name; int name_len; struct stretch *vector; word vector_len; void *control; word control_len; int flags; };
struct counted { struct message message; unsigned len; };
struct time { long long seconds, nanos; };
struct address { unsigned short family, port; unsigned char ip[4]; char rest[8]; };

enum { AF_INET = 2, SOCK_STREAM = 1, MSG_PEEK = 2, MSG_TRUNC = 0x20, MSG_WAITALL = 0x100, MSG_WAITFORONE = 0x10000 };
enum { SOCKET = 1, CONNECT = 3, SEND = 9, RECV = 10, SENDTO = 11, RECVFROM = 12, SENDMSG = 16, RECVMSG = 17, RECVMMSG = 19, SENDMMSG = 20 };

#ifdef __i386__
enum { N_EXIT = 1, N_READ = 3, N_WRITE = 4, N_CLOSE = 6, N_LSEEK = 19, N_PIPE = 42, N_SOCKETCALL = 102, N_READV = 145,
       N_WRITEV = 146, N_SENDFILE = 239, N_SPLICE = 313, N_MEMFD = 356, N_RECVMMSG = 337, N_SENDMMSG = 345, N_SOCKET = 359,
       N_CONNECT = 362, N_SENDTO = 369, N_SENDMSG = 370, N_RECVFROM = 371, N_RECVMSG = 372, N_PREADV2 = 378,
       N_PWRITEV2 = 379, N_CLOCK = 403 };
static long call(long n, long a, long b, long c, long d, long e, long f)
{
	long result;
	__asm__ volatile("pushl %7; push %%ebp; mov 4(%%esp), %%ebp; int $0x80; pop %%ebp; add $4, %%esp"
			 : "=a"(result) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "g"(f) : "memory");
	return result;
}
#else
enum { N_EXIT = 60, N_READ = 0, N_WRITE = 1, N_CLOSE = 3, N_LSEEK = 8, N_PIPE = 22, N_READV = 19, N_WRITEV = 20,
       N_SENDFILE = 40, N_SPLICE = 275, N_MEMFD = 319, N_RECVMMSG = 299, N_SENDMMSG = 307, N_SOCKET = 41, N_CONNECT = 42,
       N_SENDTO = 44, N_SENDMSG = 46, N_RECVFROM = 45, N_RECVMSG = 47, N_PREADV2 = 327, N_PWRITEV2 = 328, N_CLOCK = 228 };
static long call(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#endif

static void fail(const char *what)
{
	word len = 0;
	while (what[len])
		len++;
	call(N_WRITE, 2, (long)what, len, 0, 0, 0);
	call(N_WRITE, 2, (long)"\n", 1, 0, 0, 0);
	call(N_EXIT, 1, 0, 0, 0, 0, 0);
}

/* The compiler may call these by itself. */
void *memset(void *to, int byte, word len)
{
	for (word i = 0; i < len; i++)
		((volatile char *)to)[i] = byte;
	return to;
}

void *memcpy(void *to, const void *from, word len)
{
	for (word i = 0; i < len; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}

static char *text(char *to, const char *from)
{
	while (*from)
		*to++ = *from++;
	return to;
}

static char *digits(char *to, unsigned value, int width)
{
	char all[10];
	int len = 0;
	do {
		all[len++] = '0' + value % 10;
		value /= 10;
	} while (value || len < width);
	while (len)
		*to++ = all[--len];
	return to;
}

/* Nanoseconds of the wall clock: a 32-bit program without a library cannot divide such numbers. */
static char *now(char *to)
{
	struct time time;
	call(N_CLOCK, 0, (long)&time, 0, 0, 0, 0);
	return digits(digits(to, time.seconds, 1), time.nanos, 9);
}

/* Ways to send: each takes some of the bytes and says how many. */
static long by_write(int fd, char *at, long len) { return call(N_WRITE, fd, (long)at, len, 0, 0, 0); }
static long by_sendto(int fd, char *at, long len) { return call(N_SENDTO, fd, (long)at, len, 0, 0, 0); }

/* Many stretches of one to three bytes, some of none. */
static struct stretch stretches[600];
static long scattered(char *at, long len)
{
	int used = 0;
	for (long done = 0; done < len && used < 600; used++) {
		long part = used % 4 < len - done ? used % 4 : len - done;
		stretches[used] = (struct stretch){ at + done, part };
		done += part;
	}
	return used;
}

static long by_writev(int fd, char *at, long len) { return call(N_WRITEV, fd, (long)stretches, scattered(at, len), 0, 0, 0); }
static long by_pwritev2(int fd, char *at, long len) { return call(N_PWRITEV2, fd, (long)stretches, scattered(at, len), -1, -1, 0); }

static struct message one;
static struct message *gathered(char *at, long len)
{
	memset(&one, 0, sizeof one);
	one.vector = stretches;
	one.vector_len = scattered(at, len);
	return &one;
}

static long by_sendmsg(int fd, char *at, long len) { return call(N_SENDMSG, fd, (long)gathered(at, len), 0, 0, 0, 0); }

static struct counted several[3];
static struct stretch halves[3];
static struct counted *split(char *at, long len)
{
	memset(several, 0, sizeof several);
	long parts[3] = { len / 3, len / 2 - len / 3, len - len / 2 };
	for (int i = 0; i < 3; i++) {
		halves[i] = (struct stretch){ at, parts[i] };
		several[i].message.vector = &halves[i];
		several[i].message.vector_len = 1;
		at += parts[i];
	}
	return several;
}

static long moved(long messages)
{
	long sum = 0;
	for (long i = 0; i < messages; i++)
		sum += several[i].len;
	return messages < 0 ? messages : sum;
}

static long by_sendmmsg(int fd, char *at, long len) { return moved(call(N_SENDMMSG, fd, (long)split(at, len), 3, 0, 0, 0)); }

/* Ways to receive. */
static long by_read(int fd, char *at, long len) { return call(N_READ, fd, (long)at, len, 0, 0, 0); }
static long by_recvfrom(int fd, char *at, long len) { return call(N_RECVFROM, fd, (long)at, len, 0, 0, 0); }
static long by_readv(int fd, char *at, long len) { return call(N_READV, fd, (long)stretches, scattered(at, len), 0, 0, 0); }
static long by_preadv2(int fd, char *at, long len) { return call(N_PREADV2, fd, (long)stretches, scattered(at, len), -1, -1, 0); }
static long by_recvmsg(int fd, char *at, long len) { return call(N_RECVMSG, fd, (long)gathered(at, len), 0, 0, 0, 0); }

/* The first two are short, so that an answer takes several; what was received must be without holes. */
static struct counted *split_short(char *at, long len)
{
	split(at, len);
	halves[0] = (struct stretch){ at, 40 };
	halves[1] = (struct stretch){ at + 40, 30 };
	halves[2] = (struct stretch){ at + 70, len - 70 };
	return several;
}

static long by_recvmmsg(int fd, char *at, long len)
{
	return moved(call(N_RECVMMSG, fd, (long)split_short(at, len), 3, MSG_WAITFORONE, 0, 0));
}

#ifdef __i386__
static long socketcall(int which, long a, long b, long c, long d, long e, long f)
{
	long all[6] = { a, b, c, d, e, f };
	return call(N_SOCKETCALL, which, (long)all, 0, 0, 0, 0);
}
static long by_old_send(int fd, char *at, long len) { return socketcall(SEND, fd, (long)at, len, 0, 0, 0); }
static long by_old_sendto(int fd, char *at, long len) { return socketcall(SENDTO, fd, (long)at, len, 0, 0, 0); }
static long by_old_sendmsg(int fd, char *at, long len) { return socketcall(SENDMSG, fd, (long)gathered(at, len), 0, 0, 0, 0); }
static long by_old_sendmmsg(int fd, char *at, long len) { return moved(socketcall(SENDMMSG, fd, (long)split(at, len), 3, 0, 0, 0)); }
static long by_old_recv(int fd, char *at, long len) { return socketcall(RECV, fd, (long)at, len, 0, 0, 0); }
static long by_old_recvfrom(int fd, char *at, long len) { return socketcall(RECVFROM, fd, (long)at, len, 0, 0, 0); }
static long by_old_recvmsg(int fd, char *at, long len) { return socketcall(RECVMSG, fd, (long)gathered(at, len), 0, 0, 0, 0); }
static long by_old_recvmmsg(int fd, char *at, long len)
{
	return moved(socketcall(RECVMMSG, fd, (long)split_short(at, len), 3, MSG_WAITFORONE, 0, 0));
}
#endif

typedef long (*move)(int fd, char *at, long len);

/* Bodies that never are in this program's memory, or that leave the socket without it. */
static int file, ends[2];

static long by_sendfile(int fd, char *at, long len)
{
	call(N_LSEEK, file, 0, 0, 0, 0, 0);
	return call(N_SENDFILE, fd, file, 0, len, 0, 0);
}

static long by_splice_out(int fd, char *at, long len)
{
	call(N_LSEEK, file, 0, 0, 0, 0, 0);
	len = call(N_SPLICE, file, 0, ends[1], 0, len, 0);
	return call(N_SPLICE, ends[0], 0, fd, 0, len, 0);
}

static long by_splice_in(int fd, char *at, long len)
{
	len = call(N_SPLICE, fd, 0, ends[1], 0, len, 0);
	return call(N_READ, ends[0], (long)at, len, 0, 0, 0);
}

static long by_dropping(int fd, char *at, long len) { return call(N_RECVFROM, fd, (long)at, len, MSG_TRUNC, 0, 0); }
static long by_waiting(int fd, char *at, long len) { return call(N_RECVFROM, fd, (long)at, len, MSG_WAITALL, 0, 0); }

static const struct way { move send, send_body, receive, receive_body; } ways[] = {
	{ by_write, by_write, by_read, by_read },
	{ by_sendto, by_sendto, by_recvfrom, by_recvfrom },
	{ by_writev, by_writev, by_readv, by_readv },
	{ by_pwritev2, by_pwritev2, by_preadv2, by_preadv2 },
	{ by_sendmsg, by_sendmsg, by_recvmsg, by_recvmsg },
	{ by_sendmmsg, by_sendmmsg, by_recvmmsg, by_recvmmsg },
	{ by_write, by_sendfile, by_read, by_splice_in },
	{ by_write, by_splice_out, by_read, by_dropping },
	{ by_sendmsg, by_sendfile, by_recvmsg, by_waiting },
#ifdef __i386__
	{ by_old_send, by_old_send, by_old_recv, by_old_recv },
	{ by_old_sendto, by_old_sendto, by_old_recvfrom, by_old_recvfrom },
	{ by_old_sendmsg, by_old_sendmsg, by_old_recvmsg, by_old_recvmsg },
	{ by_old_sendmmsg, by_old_sendmmsg, by_old_recvmmsg, by_old_recvmmsg },
#endif
};

enum { BODY = 60000 };
static char body[BODY], answer[1 << 17], head[4096], line[512], began[32];

static void send_all(int fd, move by, char *at, long len)
{
	while (len > 0) {
		long sent = by(fd, at, len);
		if (sent <= 0)
			fail("cannot send");
		at += sent;
		len -= sent;
	}
}

/* The head is looked at until it is there, and taken without a byte of the body. */
static long take_head(int fd, move by)
{
	for (;;) {
		long seen = call(N_RECVFROM, fd, (long)head, sizeof head, MSG_PEEK, 0, 0);
		if (seen <= 0)
			fail("nothing to look at");
		for (long at = 0; at + 4 <= seen; at++) {
			if (head[at] == '\r' && head[at + 1] == '\n' && head[at + 2] == '\r' && head[at + 3] == '\n') {
				long len = at + 4;
				for (long taken = 0; taken < len;) {
					long part = by(fd, answer, len - taken);
					if (part <= 0)
						fail("cannot receive a head");
					taken += part;
				}
				return len;
			}
		}
	}
}

static long length_in_head(long len)
{
	static const char name[] = "ontent-Length: ";
	for (long at = 0; at + (long)sizeof name < len; at++) {
		long same = 0;
		while (name[same] && head[at + same] == name[same])
			same++;
		if (name[same])
			continue;
		long value = 0;
		for (at += same; head[at] >= '0' && head[at] <= '9'; at++)
			value = value * 10 + head[at] - '0';
		return value;
	}
	fail("an answer without a length");
	return 0;
}

static void ask(int fd, const struct way *way, unsigned port, unsigned number, long sent, long wanted)
{
	char *end = text(line, sent ? "POST /take" : "GET /bytes/");
	if (!sent)
		end = digits(end, wanted, 1);
	end = digits(text(end, "?number="), number, 1);
	end = text(end, " HTTP/1.1\r\nHost: ways\r\nContent-Length: ");
	end = text(digits(end, sent, 1), "\r\n\r\n");
	*now(began) = 0;
	send_all(fd, way->send, line, end - line);
	send_all(fd, way->send_body, body, sent);
	long got = length_in_head(take_head(fd, way->receive));
	for (long left = got; left > 0;) {
		long part = way->receive_body(fd, answer, left);
		if (part <= 0)
			fail("cannot receive a body");
		left -= part;
	}
	end = digits(text(line, "["), number, 1);
	end = digits(text(end, ", "), port, 1);
	end = text(end, sent ? ", \"POST\", \"/take" : ", \"GET\", \"/bytes/");
	if (!sent)
		end = digits(end, wanted, 1);
	end = digits(text(end, "\", 200, "), sent, 1);
	end = digits(text(end, ", "), got, 1);
	end = now(text(text(text(end, ", "), began), ", "));
	end = text(end, "]\n");
	call(N_WRITE, 1, (long)line, end - line, 0, 0, 0);
}

static unsigned number_in(const char *from)
{
	unsigned value = 0;
	for (; *from >= '0' && *from <= '9'; from++)
		value = value * 10 + *from - '0';
	return value;
}

__attribute__((used)) static void begin(word *stack)
{
	if (stack[0] != 3)
		fail("ways PORT FIRST");
	unsigned port = number_in((char *)stack[2]), number = number_in((char *)stack[3]);
	struct address address = { AF_INET, (unsigned short)(port >> 8 | port << 8), { 127, 0, 0, 1 }, { 0 } };
	memset(body, 'w', sizeof body);
	file = call(N_MEMFD, (long)"body", 0, 0, 0, 0, 0);
	call(N_PIPE, (long)ends, 0, 0, 0, 0, 0);
	if (call(N_WRITE, file, (long)body, BODY, 0, 0, 0) != BODY)
		fail("no file in memory");
	for (unsigned at = 0; at < sizeof ways / sizeof *ways; at++) {
		int fd = call(N_SOCKET, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
		if (fd < 0 || call(N_CONNECT, fd, (long)&address, sizeof address, 0, 0, 0) != 0)
			fail("cannot connect");
		ask(fd, &ways[at], port, number++, 0, 100);
		ask(fd, &ways[at], port, number++, at % 2 ? 700 : BODY, 0);
		ask(fd, &ways[at], port, number++, 0, 50000);
		ask(fd, &ways[at], port, number++, 9, 0);
		call(N_CLOSE, fd, 0, 0, 0, 0, 0);
	}
	call(N_EXIT, 0, 0, 0, 0, 0, 0);
}

#ifdef __i386__
__asm__(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n call begin\n");
#else
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#endif
