/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The order in which tasks run; only of the active mode.
 *
 * Each NUMA node has a queue, and each processor one of tasks that may run nowhere else. (Tasks that may run on some
 * of a node's processors wait in the node's: the kernel passes over those that are not for the processor that takes
 * one.) A queue is ordered by virtual deadlines: a task's virtual time, plus what it is expected to run over its
 * effective weight. Its virtual time goes on by what it really ran over its weight, so a wrong prediction moves a
 * task within a round and never changes its share.
 *
 * A queue's own virtual time is the largest at which one of its tasks was taken, or ran while none waited. A task
 * that comes to it is brought within reach of that: at most one slice_max behind, and at most AHEAD of them ahead, in
 * case it could not be stopped for long. Both are of its own weight. Since a queued task's deadline is at most
 * slice_max after its virtual time, neither bound touches tasks that wait and run in turn. A task that was woken is
 * behind by at most what it is expected to run now, so that sleeping saves up nothing but a deadline of now: it goes
 * before tasks that want to run for long, and does not preempt others of its kind.
 *
 * Every processor shares itself between its own queue and its node's by weight. Of all the weight in a node each of its
 * processors should serve the same; what its own queue does not fill of that is for the node's.
 */
#pragma once

#define AHEAD 8
/* Who waited longer than this runs next, whatever its weight; at ten seconds the kernel would end the scheduler. */
#define WAIT_MOST_NS 1000000000ull
#define RESCUE_EVERY_NS 100000000ull
/* Looking for them may last so long. */
#define RESCUE_MOST_NS 200000ull
/* Slices get shorter, down to slice_min, so that a queue's round takes about this. */
#define ROUND_NS 200000000ull
/* A node takes from another that has a quarter more weight for each processor, at most so often. */
#define BALANCE_EVERY_NS 4000000ull

#define QUEUES (LICHEN_NUMA + LICHEN_CPUS)
#define QUEUE_OF_CPU(cpu) (LICHEN_NUMA + (cpu))

struct lichen_queue {
	u64 vtime;
	s64 weight;     /* sum of the effective weights of its runnable tasks */
	s64 bound;      /* of a node: the same of its processors' own queues together */
	u64 looked;     /* when it was searched for tasks that waited too long */
};

/* What is known of a processor. */
struct lichen_processor {
	u64 deadline;   /* of who runs */
	u32 queue;      /* and the queue that deadline is of; NOBODY when none of ours runs */
	u32 pad;
	u64 pass[2];    /* virtual time of the two queues here: 0 its own, 1 the node's */
	u64 balanced;
};
#define NOBODY QUEUES

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, u32);
	__type(value, struct lichen_queue);
} queues SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LICHEN_CPUS);
	__type(key, u32);
	__type(value, struct lichen_processor);
} processors SEC(".maps");

static __always_inline struct lichen_queue *queue_at(u32 number)
{
	return bpf_map_lookup_elem(&queues, &number);
}

static __always_inline struct lichen_processor *processor_at(u32 cpu)
{
	return bpf_map_lookup_elem(&processors, &cpu);
}

static __always_inline u32 node_of(u32 cpu)
{
	u32 node = cpu < LICHEN_CPUS ? machine.node[cpu] : 0;

	return node < LICHEN_NUMA ? node : 0;
}

/* Whether a task may run on no other processor now. Whoever runs this program is kept where it is by that alone. */
static __always_inline bool bound(struct task_struct *p)
{
	if (p->nr_cpus_allowed == 1)
		return true;
	return bpf_core_field_exists(p->migration_disabled) &&
	       p->migration_disabled > (bpf_get_current_task_btf()->pid == p->pid);
}

static __always_inline u32 queue_for(struct task_struct *p, u32 cpu)
{
	if (bound(p))
		return QUEUE_OF_CPU(cpu & (LICHEN_CPUS - 1));
	return node_of(cpu);
}

static __always_inline u64 between(u64 low, u64 value, u64 high)
{
	return value < low ? low : value > high ? high : value;
}

/* What a task is expected to run on: the rest of its predicted burst; once that is over, as long again as it ran. */
static __always_inline u64 request_of(struct lichen_control *settings, struct lichen_task *task, u64 now)
{
	u64 ran = task->burst, rest;

	if (task->state == LICHEN_RUNNING && now > task->since)
		ran += now - task->since;
	rest = task->predicted_ns > ran ? task->predicted_ns - ran : ran;

	return between(settings->slice_min_ns, rest, settings->slice_max_ns);
}

static __always_inline u64 slice_of(struct lichen_control *settings, u64 request, u32 queue)
{
	u64 waiting = scx_bpf_dsq_nr_queued(queue) + 1;
	u64 cpus = queue < LICHEN_NUMA ? machine.size[queue] : 1, most = ROUND_NS * cpus / waiting;

	return most < request ? between(settings->slice_min_ns, most, request) : request;
}

static __always_inline u32 weigh(struct task_struct *p, struct lichen_task *task, u64 now)
{
	return effective_weight(entity(p)->weight, task->cgroup, now);
}

static __always_inline void add_to_queue(u32 number, s64 effective)
{
	struct lichen_queue *queue = queue_at(number);

	if (queue)
		__sync_fetch_and_add(&queue->weight, effective);
	queue = number >= LICHEN_NUMA ? queue_at(node_of(number - LICHEN_NUMA)) : NULL;
	if (queue)
		__sync_fetch_and_add(&queue->bound, effective);
}

/* Adds a runnable task's weight to a queue's, instead of what was added for it before. */
static __always_inline void count_for(struct lichen_task *task, u32 number, u32 effective)
{
	add_to_queue(task->counted_queue, -(s64)task->counted_effective);
	add_to_queue(number, effective);
	task->counted_queue = number;
	task->counted_effective = effective;
}

/* Brings a task's virtual time to a queue, within reach of the queue's; then its deadline is of that queue too. */
static __always_inline void settle(struct lichen_control *settings, struct task_struct *p, struct lichen_task *task,
				   u32 number, u64 now)
{
	u32 effective = weigh(p, task, now);
	u64 most = scaled(settings->slice_max_ns, effective), request = scaled(request_of(settings, task, now), effective);
	u64 behind = task->burst || task->state != LICHEN_WAITING ? most : request;
	struct lichen_queue *queue = queue_at(number), *before = queue_at(task->queue);
	s64 lead;

	if (!queue || !before)
		return;
	lead = task->vtime - before->vtime;
	if (lead < -(s64)behind)
		lead = -(s64)behind;
	if (lead > (s64)(AHEAD * most))
		lead = AHEAD * most;
	task->queue = number;
	task->vtime = queue->vtime + lead;
	task->deadline = task->vtime + request;
	if (task->counted)
		count_for(task, number, effective);
}

/* What of a processor is for its own queue (0) or for its node's (1), as a weight. */
static __always_inline u32 weight_here(u32 which, s32 cpu)
{
	u32 number = node_of(cpu), size = machine.size[number];
	struct lichen_queue *node = queue_at(number), *own = queue_at(QUEUE_OF_CPU(cpu & (LICHEN_CPUS - 1)));
	s64 rest, least;

	if (!node || !own)
		return NOMINAL;
	if (!which)
		return own->weight > 0 ? own->weight : NOMINAL;
	if (!size)
		size = 1;
	rest = (node->weight + node->bound > 0 ? (u64)(node->weight + node->bound) / size : 0) - own->weight;
	/* A processor with more bound to it than it should serve still serves the node a little. */
	least = (node->weight > 0 ? (u64)node->weight : NOMINAL) / size / 16;
	return rest > least ? rest : least;
}

/* Adds what a running task ran since the last time to its virtual time, and to its processor's between two queues. */
static __always_inline void charge(struct task_struct *p, struct lichen_task *task, s32 cpu, u64 now)
{
	struct lichen_processor *here = processor_at(cpu);
	u64 ran = now > task->charged ? now - task->charged : 0;

	task->charged = now;
	task->vtime += scaled(ran, weigh(p, task, now));
	if (here)
		here->pass[task->queue < LICHEN_NUMA] += scaled(ran, weight_here(task->queue < LICHEN_NUMA, cpu));
}

/* Counts a task's weight in, when it becomes runnable. */
static __always_inline void count_in(struct task_struct *p, struct lichen_task *task, u64 now)
{
	if (task->counted)
		return;
	task->counted = entity(p)->weight;
	task->counted_in = task->cgroup;
	add_weight(task->counted_in, task->counted);
	count_for(task, queue_for(p, scx_bpf_task_cpu(p)), weigh(p, task, now));
}

static __always_inline void count_out(struct lichen_task *task)
{
	if (!task->counted)
		return;
	add_weight(task->counted_in, -(s64)task->counted);
	count_for(task, task->counted_queue, 0);
	task->counted = 0;
}

/*
 * A task runs. When it is the first of its queue, or none waits there, the queue's virtual time follows it, also
 * when it goes on where it ran: otherwise a heavy task would stay within reach for ever.
 */
static __always_inline void follow(struct lichen_task *task, struct lichen_processor *here, bool first)
{
	struct lichen_queue *queue = queue_at(task->queue);

	if (first && queue && (s64)(task->vtime - queue->vtime) > 0)
		queue->vtime = task->vtime;
	here->deadline = task->deadline;
	here->queue = task->queue;
}

/* Deadline of a queue's first task; false when there is none. */
static __always_inline bool first_deadline(u32 number, u64 *deadline)
{
	struct bpf_iter_scx_dsq___lichen it;
	struct task_struct *p;
	bool found = false;

	bpf_iter_scx_dsq_new(&it, number, 0);
	p = bpf_iter_scx_dsq_next(&it);
	if (p) {
		*deadline = entity(p)->dsq_vtime;
		found = true;
	}
	bpf_iter_scx_dsq_destroy(&it);
	return found;
}

/*
 * Takes a task that waited too long, if there is one that may run here. A deadline bounds the wait only by the
 * others' weights: beside one of nice -20 a task of nice 19 would wait for minutes. Those whose turn is last are
 * looked at first.
 */
static __always_inline bool rescue(u32 number, s32 cpu, u64 now)
{
	struct lichen_queue *queue = queue_at(number);
	struct bpf_iter_scx_dsq___lichen it;
	struct task_struct *p;
	bool taken = false;

	if (!queue || now - queue->looked < RESCUE_EVERY_NS)
		return false;
	queue->looked = now;
	bpf_iter_scx_dsq_new(&it, number, FROM_LAST);
	while ((p = bpf_iter_scx_dsq_next(&it))) {
		struct lichen_task *task = bpf_task_storage_get(&tasks, p, 0, 0);

		if (task && task->state == LICHEN_WAITING && now > task->since + WAIT_MOST_NS &&
		    bpf_cpumask_test_cpu(cpu, p->cpus_ptr)) {
			taken = take_this(&it, p);
			break;
		}
		if (bpf_ktime_get_ns() > now + RESCUE_MOST_NS)
			break;
	}
	bpf_iter_scx_dsq_destroy(&it);
	if (taken)
		count(LICHEN_RESCUED);
	return taken;
}

/* Which of a processor's two queues is served first, 0 its own or 1 the node's; somebody waits in each. */
static __always_inline u32 fairer(struct lichen_control *settings, struct lichen_processor *here)
{
	u64 most = settings->slice_max_ns * 8;

	if ((s64)(here->pass[0] - here->pass[1]) > (s64)most)
		here->pass[1] = here->pass[0] - most;
	if ((s64)(here->pass[1] - here->pass[0]) > (s64)most)
		here->pass[0] = here->pass[1] - most;
	return (s64)(here->pass[0] - here->pass[1]) > 0;
}

/* Takes a task of another node: of any when ``idle``, otherwise of one whose processors have clearly more to do. */
static __always_inline bool steal(u32 node, bool idle)
{
	struct lichen_queue *mine = queue_at(node);
	u64 size = node < LICHEN_NUMA && machine.size[node] ? machine.size[node] : 1;

	if (!mine || machine.nodes < 2)
		return false;
	for (u32 i = 1; i < LICHEN_NUMA && i < machine.nodes; i++) {
		u32 other = (node + i) % machine.nodes;
		struct lichen_queue *theirs = queue_at(other);
		u64 cpus = other < LICHEN_NUMA ? machine.size[other] : 0;

		/* A node without processors still has a queue, and nobody is in it. */
		if (!theirs || !scx_bpf_dsq_nr_queued(other))
			continue;
		if (!idle && theirs->weight * 4 * (s64)size < mine->weight * 5 * (s64)cpus)
			continue;
		if (take_first(other)) {
			count(LICHEN_STOLEN);
			return true;
		}
	}
	return false;
}

/*
 * Whether a woken task takes a processor from who runs there: when its deadline is earlier by at least preempt_ns,
 * and never a task of SCHED_BATCH or SCHED_IDLE. EEVDF in comparison asks at each wake-up (of the same policies)
 * whether the woken task is eligible and has the earliest deadline, whose distance is a fixed slice and not the
 * burst; and lets who runs finish its slice for as long as it is owed time (RUN_TO_PARITY).
 */
static __always_inline bool preempts(struct lichen_control *settings, struct task_struct *p, struct lichen_task *task,
				     s32 cpu)
{
	struct lichen_processor *there = processor_at(cpu);
	struct lichen_queue *queue = queue_at(task->queue), *other = there ? queue_at(there->queue) : NULL;

	if (!settings->preempt_ns || !queue || !other)
		return false;
	if (p->policy == SCHED_BATCH_POLICY || p->policy == SCHED_IDLE_POLICY)
		return false;
	return (s64)(task->deadline - queue->vtime + settings->preempt_ns) <= (s64)(there->deadline - other->vtime);
}

/*
 * Takes the first of a queue, or lets ``prev`` go on when it is of that queue and before the first. The kernel puts
 * a task that used up its slice back only after this, so it has to be compared here: otherwise two tasks would
 * alternate whatever their weights.
 */
static __always_inline bool serve(struct lichen_task *prev, u32 number, bool *keep)
{
	u64 first = 0;
	bool any = first_deadline(number, &first);

	if (prev && prev->queue == number && (!any || (s64)(prev->deadline - first) <= 0)) {
		*keep = true;
		return true;
	}
	return any && take_first(number);
}

/* Chooses between a processor's own queue and its node's, and serves one. */
static __always_inline bool serve_both(struct lichen_control *settings, struct lichen_task *prev, s32 cpu, u32 node,
				       bool *keep)
{
	u32 own = QUEUE_OF_CPU(cpu), second;
	struct lichen_processor *here = processor_at(cpu);
	bool has_own = scx_bpf_dsq_nr_queued(own) || (prev && prev->queue == own);
	bool has_node = scx_bpf_dsq_nr_queued(node) || (prev && prev->queue == node);

	if (!here)
		return false;
	if (has_own && has_node) {
		second = fairer(settings, here);
		if (serve(prev, second ? node : own, keep))
			return true;
		return serve(prev, second ? own : node, keep);
	}
	/* Who was not there saves nothing up. */
	if (has_own)
		here->pass[1] = here->pass[0];
	else
		here->pass[0] = here->pass[1];
	return serve(prev, has_own ? own : node, keep);
}
