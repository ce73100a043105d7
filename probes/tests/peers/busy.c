/* Burns a CPU: nearly all of it in hot(), some calls below main(). */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static volatile uint64_t sink;

__attribute__((noinline)) static uint64_t hot(uint64_t seed)
{
	uint64_t sum = seed;
	for (int i = 0; i < 20000; i++)
		sum = sum * 6364136223846793005u + (sum >> 33);
	return sum;
}

__attribute__((noinline)) static uint64_t middle(uint64_t seed, int depth)
{
	char room[64];
	room[seed % sizeof room] = (char)seed;
	sink = (uint64_t)room[depth];
	uint64_t sum = depth ? middle(seed, depth - 1) : hot(seed);
	return sum + sink;
}

__attribute__((noinline)) static uint64_t outer(uint64_t seed)
{
	uint64_t sum = middle(seed, 3);
	sink = sum;
	return sum ^ 1;
}

int main(void)
{
	uint64_t sum = (uint64_t)getpid();
	puts("ready");
	fflush(stdout);
	for (;;)
		sum = outer(sum);
}
