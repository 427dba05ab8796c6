/* What one core multiplies and adds at most: sixteen chains of vectors that wait for nothing but each other's turn.
   Prints FLOP/s. The compiler is asked for this very machine's widest instructions; libraries' products can be far below. */
#include <stdio.h>
#include <time.h>

typedef float vector __attribute__((vector_size(64)));
enum { CHAINS = 16, LANES = 16, TURNS = 10000000 };

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

int main(void) {
  vector chains[CHAINS], factor, summand;
  float seen = 0;
  double best = 1e9;
  for (int lane = 0; lane < LANES; lane++) factor[lane] = 0.999f, summand[lane] = 1e-3f;
  for (int chain = 0; chain < CHAINS; chain++) chains[chain] = summand * (float)chain;
  for (int round = 0; round < 9; round++) {
    double started = now();
    for (long turn = 0; turn < TURNS; turn++)
      for (int chain = 0; chain < CHAINS; chain++) chains[chain] = chains[chain] * factor + summand;
    double took = now() - started;
    best = took < best ? took : best;
  }
  for (int chain = 0; chain < CHAINS; chain++)
    for (int lane = 0; lane < LANES; lane++) seen += chains[chain][lane];
  fprintf(stderr, "%f\n", seen); /* so that no chain is left out */
  printf("%.0f\n", 2.0 * LANES * CHAINS * TURNS / best);
  return 0;
}
