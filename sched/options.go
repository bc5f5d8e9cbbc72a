package sched

import (
	"errors"
	"fmt"
	"time"
)

// Options say how a run is controlled.
type Options struct {
	// Strategy decides. It is required.
	Strategy Strategy

	// MaxSteps is how many steps a run may take; one that takes more is a finding. 0 is
	// 10,000.
	MaxSteps int

	// MaxIdle is how long, in the time of the bubble, a run with tasks left may go on
	// without any of them reaching a point; one that takes longer is stuck, which is a
	// finding. 0 is an hour.
	MaxIdle time.Duration

	// Quantum is how much time passes at most when time is let pass although a task could
	// go on; less, if a task is woken earlier. 0 is a minute.
	Quantum time.Duration

	// IdleTimeOnly lets time pass only when no task can go on. Timers then never race
	// anything that takes no time.
	IdleTimeOnly bool

	// SpinPoints is after how many points at which a task changed nothing it counts as
	// spinning: it is not chosen until another task has changed something, or time has
	// passed. 0 is 50.
	SpinPoints int

	// Positions records where in the program each point is, for the trace. That takes
	// longer than the point.
	Positions bool

	// Watchdog, if not nil, watches the run from outside the bubble.
	Watchdog *Watchdog
}

// fill replaces zero values by what they stand for.
func (o Options) fill() (Options, error) {
	var errs []error
	if o.Strategy == nil {
		errs = append(errs, errors.New("sched: Strategy is nil; want one, such as NewPCT(seed, 3, 100)"))
	}
	for _, f := range []struct {
		name  string
		value *int
		def   int
	}{{"MaxSteps", &o.MaxSteps, 10_000}, {"SpinPoints", &o.SpinPoints, 50}} {
		if *f.value < 0 {
			errs = append(errs, fmt.Errorf("sched: %s is %d; want at least 1, or 0 for %d", f.name, *f.value, f.def))
		}
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	for _, f := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
	}{{"MaxIdle", &o.MaxIdle, time.Hour}, {"Quantum", &o.Quantum, time.Minute}} {
		if *f.value < 0 {
			errs = append(errs, fmt.Errorf("sched: %s is %v; want more than 0, or 0 for %v", f.name, *f.value, f.def))
		}
		if *f.value == 0 {
			*f.value = f.def
		}
	}
	return o, errors.Join(errs...)
}

// FindingKind says what is wrong.
type FindingKind uint8

// The kinds of findings.
const (
	Failed   FindingKind = iota // the body returned an error, or Fail was called
	Panicked                    // a task panicked
	Exited                      // the body called runtime.Goexit
	Stuck                       // tasks are left and none can ever go on
	Endless                     // MaxSteps
)

// String returns the name of the kind in lower case.
func (k FindingKind) String() string {
	return [...]string{"failed", "panicked", "exited", "stuck", "endless"}[k]
}

// Finding is what is wrong with a run. Its text holds no addresses, numbers of goroutines
// or times, so it is the same whenever the same happens.
type Finding struct {
	Kind    FindingKind
	Task    string // the name of the task that failed, if one did
	Message string
	Stack   string // of the panic, without addresses; not part of the text
	Err     error  // for Failed
}

// Error returns the text of the finding.
func (f *Finding) Error() string {
	if f.Task != "" {
		return fmt.Sprintf("%s: task %s: %s", f.Kind, f.Task, f.Message)
	}
	return fmt.Sprintf("%s: %s", f.Kind, f.Message)
}

// Unwrap returns Err.
func (f *Finding) Unwrap() error { return f.Err }

// Result is what became of a run.
type Result struct {
	Finding     *Finding // nil if nothing is wrong
	Steps       int      // points passed, and times that time passed
	Decisions   int      // choices that the strategy was asked for
	Preemptions int
	Schedule    Schedule // what it chose: NewReplay repeats the run
	Hash        uint64   // of all that happened, up to the finding: equal runs have equal hashes
	Left        []string // names of the tasks that could not be ended
	Trace       *Trace
}
