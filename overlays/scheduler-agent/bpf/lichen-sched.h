/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the scheduler's programs and the agent tell one another. The agent reads the same layouts with Python's
 * struct, so every struct has its natural alignment and no hole.
 *
 * A burst is the processor time of a task from being woken until it blocks; being preempted does not end it.
 * Logarithms are of base 2, of nanoseconds, in fixed point with LICHEN_FRACTION fractional bits ("Q8").
 */
#pragma once

#define LICHEN_FRACTION 8

/* Features, in this order. All are known when a task is woken; of a task's first burst those of bursts are 0. */
enum lichen_feature {
	LICHEN_F_LAST = 0,    /* logarithm of the last burst */
	LICHEN_F_BEFORE_LAST, /* and of the one before */
	LICHEN_F_EWMA,        /* mean of the logarithms; a new one counts a quarter, the first one wholly */
	LICHEN_F_DEVIATION,   /* mean in the same way of |logarithm - mean before it| */
	LICHEN_F_SLEEP,       /* logarithm of the time since the last burst's end */
	LICHEN_F_SLEEP_EWMA,
	LICHEN_F_WAKES,       /* logarithm of the number of wake-ups, this one included */
	LICHEN_F_PREEMPTED,   /* mean of 256 for each time it was stopped while it wanted to go on, 0 for blocking */
	LICHEN_F_WAKER_EWMA,  /* LICHEN_F_EWMA of who ran where it was woken: the waker, or whom an interrupt met; 0: none */
	LICHEN_F_NICE,        /* -20 to 19; 20 for SCHED_IDLE */
	LICHEN_F_KERNEL,      /* 1: a thread of the kernel */
	LICHEN_F_THREADS,     /* logarithm of the number of its process's threads */
	LICHEN_FEATURES,
};

/* Every prediction lies between these two logarithms: 1 us, and about 17 s. */
#define LICHEN_LEAST (10 << LICHEN_FRACTION)
#define LICHEN_MOST (34 << LICHEN_FRACTION)

/* The ensemble: trees of at most LICHEN_DEPTH questions, all nodes of a tree together. */
#define LICHEN_TREES 32
#define LICHEN_DEPTH 5
#define LICHEN_NODES 64
/* Two ensembles lie in the map of nodes, one in force and one to be written. */
#define LICHEN_SLOTS 2

/* What predicts. */
enum lichen_predictor {
	LICHEN_CONSTANT = 0, /* the same burst for every task: control.constant_ns */
	LICHEN_LAST = 1,     /* the task's last burst */
	LICHEN_EWMA = 2,     /* an exponentially weighted mean of its logarithms, a new one counting a quarter */
	LICHEN_TREES_SUM = 3, /* the ensemble of gradient-boosted trees */
	LICHEN_ORACLE = 4,   /* what was recorded for the same task in a run before, for the ablation only; else EWMA */
};

/*
 * Map "control", array of one. The agent replaces it as a whole, but the kernel copies it word by word: a new
 * ensemble's trees and base come first, with the old slot, and then the slot, which lies in one word with the
 * predictor.
 */
struct lichen_control {
	__u32 predictor;     /* enum lichen_predictor; of a task's first burst it knows nothing, and constant_ns counts */
	__u32 slot;          /* of the ensemble in force, 0 or 1 */
	__u32 trees[LICHEN_SLOTS];
	__s32 base[LICHEN_SLOTS]; /* Q8 logarithm that the trees' leaves are added to */
	__u32 sample_every;  /* one burst of so many goes into the ring; 0: none */
	__u32 record;        /* 1: every burst of tasks with an identity goes into the ring, for the oracle */
	__u64 constant_ns;
	__u64 slice_min_ns;  /* a task's slice is its predicted burst, kept between these two */
	__u64 slice_max_ns;
	__u64 preempt_ns;    /* a woken task preempts who runs when its deadline is earlier by this; 0: never */
	__u64 generation;    /* goes up with each change, and comes back in every sample */
};

/* A tree's root is its node 0. */
struct lichen_node {
	__s32 threshold; /* feature <= threshold: go to left, otherwise to right */
	__s32 value;     /* Q8, of a leaf */
	__u8 feature;
	__u8 left;       /* numbers of nodes of the same tree */
	__u8 right;
	__u8 leaf;       /* 1: value counts */
};

/* Map "trees", array of LICHEN_SLOTS * LICHEN_TREES, first those of slot 0. */
struct lichen_tree {
	struct lichen_node nodes[LICHEN_NODES];
};

/* Ring buffer "samples". */
struct lichen_sample {
	__u64 time_ns;       /* CLOCK_MONOTONIC when the burst ended */
	__u64 burst_ns;
	__u64 cgroup;        /* number of the task's cgroup */
	__u64 identity;      /* of the task, the same in every run of the same workload; 0 outside of recorded trees */
	__u64 generation;    /* of the control that predicted it */
	__u32 sequence;      /* which burst of the task, from 1 */
	__u32 pid;
	__u32 uid;
	__s32 predicted;     /* Q8 logarithm; what was in force when the task was woken */
	__s32 features[LICHEN_FEATURES];
	char comm[16];
};

/* Map "oracle", hash: recorded bursts -> nanoseconds (u64). */
struct lichen_recorded {
	__u64 identity;
	__u32 sequence;
	__u32 pad;
};

/*
 * Map "roots", hash of pids (u32 -> u64): their identities; children's follow from their parents' and their number.
 * It is looked at while control.record is set or the oracle predicts; a task's bursts count from 1 when it gets its
 * identity.
 */

/* Map "delays", per-CPU array: how long runnable tasks waited for a processor, LICHEN_BUCKETS of them. Bucket
 * 4 * e + q holds delays from 2^e * (1 + q/4) microseconds on; the first one everything below a microsecond too. */
#define LICHEN_BUCKETS 96

/* Map "counters", per-CPU array of these, one __u64 each, in this order. */
enum lichen_counter {
	LICHEN_SWITCHES = 0,   /* a processor changed from one task to another */
	LICHEN_INVOLUNTARY,    /* of those, from a task that wanted to go on */
	LICHEN_MIGRATIONS,     /* a task ran on another processor than before */
	LICHEN_WAKEUPS,
	LICHEN_DIRECT,         /* a woken task went to an idle processor at once */
	LICHEN_QUEUED,         /* tasks that were put into a queue */
	LICHEN_KICKS,          /* a woken task preempted who ran */
	LICHEN_STOLEN,         /* taken from another node's queue */
	LICHEN_SAMPLES,        /* put into the ring */
	LICHEN_LOST,           /* found no room there */
	LICHEN_PREDICTIONS,
	LICHEN_MISSES,         /* of the oracle: nothing was recorded for a burst of a task with an identity */
	LICHEN_LONGEST_NS,     /* the longest delay, not a sum: the largest of all processors counts */
	LICHEN_RESCUED,        /* tasks that ran out of order because they had waited too long */
	LICHEN_UNMEASURED,     /* there was no memory for a task's state: nothing is known of what it does */
	LICHEN_COUNTERS,
};

/* Map "shares", LRU hash: what tasks of a cgroup and user got, for the audit of fairness. */
struct lichen_owner {
	__u64 cgroup;
	__u32 uid;
	__u32 pad;
};

struct lichen_share {
	__u64 ran_ns;
	__u64 waited_ns;
	__u64 longest_ns;
	__u64 bursts;
	__u64 error;         /* sum of |predicted - actual|, Q8 logarithms */
	__s64 bias;          /* sum of predicted - actual */
	__u32 weight;        /* of the cgroup the last time, 100 by default */
	__u32 pad;
};

/*
 * Section .rodata.machine, set before the programs are loaded. Processors and nodes are counted as the kernel does,
 * up to the highest possible one.
 */
#define LICHEN_CPUS 1024
#define LICHEN_NUMA 64
struct lichen_machine {
	__u32 cpus;
	__u32 nodes;
	char stall[16];      /* for tests only: tasks of that name are forgotten, and the kernel's watchdog must see it */
	__u16 size[LICHEN_NUMA]; /* processors of each node */
	__u8 node[LICHEN_CPUS];  /* of each processor */
};

/* Section .data.epoch: one u64 that goes up before each change of mode; what was seen before is unfinished. */

/* Map "ending", array of one: why the scheduler ended; kind 0 while it has not. */
struct lichen_ending {
	/* enum scx_exit_kind: 64 by us, 66 by the kernel (a processor came or went), 67 sysrq, 1024 error, 1026 stall */
	__u64 kind;
	__s64 code;
	char reason[128];
	char message[512];
};
