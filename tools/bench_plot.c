/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench_plot.h"
#include "text.h"

#define WIDTH     65 /* 16 columns for each nine */
#define HEIGHT    12
#define PER_NINE  16
#define N_MARKERS (WIDTH / PER_NINE + 1)

/* Row of a latency, 0 at the bottom. */
static int row_of(double ns, double lowest, double highest)
{
	double share = highest > lowest ? log(ns / lowest) / log(highest / lowest) : 0;
	int row = (int)lround(share * (HEIGHT - 1));

	return row < 0 ? 0 : row >= HEIGHT ? HEIGHT - 1 : row;
}

static double at_column(const struct histogram *h, int column)
{
	double ns = (double)histogram_at(h, 1 - pow(10, -(double)column / PER_NINE));

	return ns < 1 ? 1 : ns;
}

static void print_axis(void)
{
	static const char *const marks[N_MARKERS] = {"0", "90", "99", "99.9", "99.99 %"};

	printf("%10s +", "");
	for (int i = 0; i < WIDTH; i++)
		putchar(i % PER_NINE == 0 ? '+' : '-');
	printf("\n%12s", "");
	for (int i = 0; i < N_MARKERS; i++)
		printf("%-*s", PER_NINE, marks[i]);
	putchar('\n');
}

void bench_plot(const struct histogram *h)
{
	char grid[HEIGHT][WIDTH + 1];
	double lowest = at_column(h, 0);
	double highest = at_column(h, WIDTH - 1);
	int before = 0;

	memset(grid, ' ', sizeof(grid));
	for (int x = 0; x < WIDTH; x++) {
		int row = row_of(at_column(h, x), lowest, highest);

		/* A step of more than one row is drawn as a line. */
		for (int y = before + 1; x > 0 && y < row; y++)
			grid[y][x] = '|';
		grid[row][x] = '*';
		before = row;
	}
	for (int y = HEIGHT - 1; y >= 0; y--) {
		double ns = lowest * pow(highest / lowest, (double)y / (HEIGHT - 1));

		grid[y][WIDTH] = 0;
		printf("%10s |%s\n", y % 2 ? text_ns(ns).s : "", grid[y]);
	}
	print_axis();
}
