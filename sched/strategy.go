package sched

// Kind says what a Choice is about.
type Kind uint8

// The kinds of choices.
const (
	NextTask  Kind = iota // which task goes on, or that time passes
	ReadyCase             // with which case a select begins to look for one that is ready
	Seed                  // the seed of what the run draws by itself, such as the order of a map
)

// String returns the label of the kind in a trace.
func (k Kind) String() string { return [...]string{"next", "case", "seed"}[k] }

// Choice is one decision that a run asks its Strategy for: a number from 0 to N-1. Number
// 0 is always the simplest.
type Choice struct {
	Kind Kind
	N    int // at least 2

	// For NextTask alone. The tasks that can go on, the one that ran last first if it is
	// among them (Continue), the others by identity. If Time is set there is one more
	// number, the last: let time pass. Tasks is valid during the call only. Holds says that
	// the task that ran last has a mutex locked: others get little done before it goes on.
	Tasks    []*Task
	Continue bool
	Time     bool
	Holds    bool
}

// Preempts tells whether choosing i costs a preemption: the task that ran last could go
// on and does not, or time passes although some task could run.
func (c Choice) Preempts(i int) bool {
	if c.Kind != NextTask {
		return false
	}
	return c.Continue && i > 0 || c.Time && i == c.N-1
}

// Strategy decides. Its methods are called by one goroutine at a time, though not always
// the same one; they must not block. A Strategy serves one run, unless it says otherwise.
type Strategy interface {
	// Pick returns a number from 0 to c.N-1. It may panic, as rapid does to abandon a
	// run; the panic is carried to the goroutine that called Run.
	Pick(c Choice) int
}

// Pruner is a Strategy that wants to know of choices which would have come to the same.
type Pruner interface {
	// Prune says of the last choice that the numbers from the one picked up to next-1
	// would all have had the same effect.
	Prune(next int)
}

// runClasses is how many classes of lengths there are for how long a task runs before it
// is preempted. Class 0 is for ever, class k is from 2^(k-1) points up to less than 2^k:
// short runs are as likely as long ones, whether a program takes ten points or hundreds.
const runClasses = 8

// mostPreemptions is one more than the preemptions that a drawn schedule has at most. Most
// faults need one or two, and a schedule with few can be shrunk to one with as few as it
// takes: one with many stays stuck where each of them makes up for another.
const mostPreemptions = 8

// Drawn takes its decisions from a source of numbers that can be shrunk, such as rapid. A
// task runs until it cannot go on, or until a drawn number of points has passed, and that
// up to a drawn number of times. If every number drawn is 0, no task is ever preempted.
type Drawn struct {
	draw   func(label string, n int) int
	budget int // preemptions that are left
	left   int // points until the next preemption; forever if negative
}

const forever = -1

// NewDrawn returns a Drawn for one run. draw must return a number from 0 to n-1 and
// prefer 0 when it shrinks; with rapid,
//
//	func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
func NewDrawn(draw func(label string, n int) int) *Drawn {
	d := &Drawn{draw: draw, budget: draw("preemptions", mostPreemptions)}
	d.begin()
	return d
}

// begin draws how long the task that goes on now may run.
func (d *Drawn) begin() {
	d.left = forever
	if d.budget == 0 {
		return
	}
	class := d.draw("run", runClasses)
	if class == 0 {
		return
	}
	d.left = 1<<(class-1) - 1
	if class > 1 {
		d.left += d.draw("more", 1<<(class-1))
	}
}

// Pick implements Strategy.
func (d *Drawn) Pick(c Choice) int {
	if c.Kind != NextTask {
		return d.draw(c.Kind.String(), c.N)
	}
	picked := 0
	switch {
	case !c.Continue:
		picked = d.draw("next", c.N)
	case d.left == forever:
		return 0
	case d.left > 0:
		d.left--
		return 0
	default:
		d.budget--
		picked = 1 + d.draw("preempt by", c.N-1)
	}
	d.begin()
	return picked
}
