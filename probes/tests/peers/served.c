/* An HTTP server with a thread for each connection, which waits for its requests. A request `/NAME/NUMBER/MILLIS` burns
 * a CPU for that long in the function of that name. Each is written to standard output, as it is done:
 * `name number thread first last`, in nanoseconds of CLOCK_REALTIME: after the request was read, before it is answered.
 * One more thread burns a CPU for nobody, until the server ends. With an argument, each request is handed over to a
 * thread of its own, which answers it; who has read it burns a CPU for nobody meanwhile. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

static uint64_t clock_nanos(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* Functions that look alike must not become one. */
#define WORK(name, factor)                                                    \
	__attribute__((noinline, noclone)) static void name(uint64_t nanos)   \
	{                                                                     \
		uint64_t end = clock_nanos(CLOCK_MONOTONIC) + nanos;          \
		uint64_t sum = factor;                                        \
		do                                                            \
			for (int i = 0; i < 20000; i++)                       \
				sum = sum * factor + (sum >> 33);             \
		while (clock_nanos(CLOCK_MONOTONIC) < end);                   \
		sink += sum;                                                  \
	}

WORK(alpha, 6364136223846793005u)
WORK(beta, 2862933555777941757u)
WORK(gamma_, 3202034522624059733u)
WORK(delta, 4768777513237032717u)
WORK(nobody, 3935559000370003845u)

static const struct {
	const char *name;
	void (*work)(uint64_t);
} works[] = { { "alpha", alpha }, { "beta", beta }, { "gamma_", gamma_ }, { "delta", delta } };

static void answer(int client, const char *request)
{
	char name[16] = "";
	unsigned number = 0, millis = 0;
	uint64_t first = clock_nanos(CLOCK_REALTIME);
	sscanf(request, "GET /%15[^/]/%u/%u", name, &number, &millis);
	for (size_t at = 0; at < sizeof works / sizeof *works; at++)
		if (strcmp(works[at].name, name) == 0)
			works[at].work((uint64_t)millis * 1000000u);
	uint64_t last = clock_nanos(CLOCK_REALTIME);
	static const char done[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
	if (write(client, done, sizeof done - 1) != (ssize_t)(sizeof done - 1))
		return;
	/* One write a line: threads do not mix. */
	char line[160];
	int length = snprintf(line, sizeof line, "%s %u %ld %llu %llu\n", name, number,
			      syscall(SYS_gettid), (unsigned long long)first, (unsigned long long)last);
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		exit(1);
}

struct handed {
	int client;
	char request[4096];
};

static int hands_over;

static void *take(void *argument)
{
	struct handed *handed = argument;
	answer(handed->client, handed->request);
	return NULL;
}

static void *serve(void *argument)
{
	struct handed handed = { .client = (int)(intptr_t)argument };
	ssize_t got;
	while ((got = read(handed.client, handed.request, sizeof handed.request - 1)) > 0) {
		pthread_t taker;
		handed.request[got] = 0;
		if (hands_over && pthread_create(&taker, NULL, take, &handed) == 0) {
			nobody(15000000u);
			pthread_join(taker, NULL);
		} else {
			answer(handed.client, handed.request);
		}
	}
	close(handed.client);
	return NULL;
}

static void *burn(void *argument)
{
	(void)argument;
	for (;;) {
		nobody(20000000u);
		usleep(20000);
	}
	return NULL;
}

int main(int count, char **arguments)
{
	(void)arguments;
	hands_over = count > 1;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof address;
	if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 64) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0)
		return 1;
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	pthread_t thread;
	pthread_create(&thread, NULL, burn, NULL);
	for (;;) {
		int client = accept(listener, NULL, NULL);
		if (client >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)client) == 0)
			pthread_detach(thread);
	}
}
