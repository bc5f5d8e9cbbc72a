package sched

import (
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"
	"unsafe"
)

// Scheduler is one run. Its exported methods are for the tasks of the run.
type Scheduler struct {
	opts     Options
	strategy Strategy
	main     *Task
	kill     chan struct{} // closed when tasks are to end wherever they are
	arrived  chan struct{} // has room for one
	beat     atomic.Int64  // changes as long as the run gets on

	mu       sync.Mutex // held briefly, never while anything blocks
	tasks    []*Task    // that have not ended, by identity
	everyone []*Task    // in order of creation
	parked   int        // of tasks
	spawned  int        // tasks without a parent
	current  *Task      // the one that runs, if it has neither parked nor come to rest
	last     *Task      // the one that ran last
	goids    []int64    // of tasks whose end is not seen
	foreign  bool       // goroutines may be about that are not known: decide at rest only
	decided  verdict    // by a task, for the root
	asleep   bool       // the root lets time pass, and is woken by an arrival
	over     bool

	enabled     []*Task // scratch
	dry         int     // steps since anything changed
	ticked      bool    // time has passed since the last step: who goes on then is a free choice
	fruitless   bool    // time has passed since the last step, and nothing has come of it
	preempting  bool    // the step that comes was chosen by a preemption
	idle        time.Duration
	objects     map[unsafe.Pointer]int
	keys        map[any]int
	seed        uint64
	rng         *rand.Rand // nil until it is needed
	steps       int
	decisions   int
	preemptions int
	schedule    Schedule
	hash        uint64
	events      []event
	finding     *Finding
	carried     any // the panic to go on with in the goroutine that called Run
	carrying    bool
}

// Run runs body as a task, and everything that it starts, one at a time, as the strategy
// decides. It must be called in a testing/synctest bubble, by a goroutine that is no task,
// and it returns when all tasks have ended, or could not be ended. body and the goroutines
// that it starts may use the time of the bubble, and must keep to it: channels and timers
// from elsewhere are not waited for. The caller must not run code with points in it
// meanwhile, nor before, if that leaves locks held.
//
// If body calls Fatal of a rapid.T, or abandons the check in another way, Run does so too.
// A run with a finding goes on for a while, under no preemption, so that goroutines may
// end; those that do not are made to call runtime.Goexit.
func Run(o Options, body func(s *Scheduler) error) *Result {
	o, err := o.fill()
	if err != nil {
		panic(err)
	}
	s := &Scheduler{
		opts: o, strategy: o.Strategy, hash: fnvOffset,
		kill: make(chan struct{}), arrived: make(chan struct{}, 1),
		objects: map[unsafe.Pointer]int{}, schedule: Schedule{}, events: make([]event, 0, 64),
	}
	closeRegistry, ok := s.open()
	if !ok {
		panic("sched: Run needs a testing/synctest bubble of its own; call it in synctest.Test or rapid.SyncTest, and not in a task")
	}
	defer closeRegistry()
	if o.Watchdog != nil {
		defer o.Watchdog.watch(s)()
	}
	s.main = s.start(body)
	s.loop()
	if s.finding != nil || s.carrying {
		s.drain()
		s.end()
	}
	return s.result()
}

// start makes the task that runs body.
func (s *Scheduler) start(body func(*Scheduler) error) *Task {
	s.mu.Lock()
	t := s.newTaskLocked(nil, "main")
	s.mu.Unlock()
	go t.run(func() {
		if err := body(s); err != nil {
			s.Fail(err)
		}
	})
	return t
}

// loop decides at rest until all tasks have ended or the run is given up.
func (s *Scheduler) loop() {
	for {
		synctest.Wait()
		next, v := s.step()
		switch v {
		case goOn:
			next.wake <- struct{}{}
		case passTime:
			s.sleep(s.opts.Quantum, OpTime)
		case spinning:
			s.sleep(s.opts.Quantum, OpTime)
			s.refresh()
		case idle:
			if !s.sleep(s.opts.MaxIdle, OpTime) {
				s.stuck()
			}
		case given, undecided:
			return
		}
	}
}

// step decides what happens next, at rest. It returns undecided when nothing is left.
func (s *Scheduler) step() (*Task, verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = nil // it has parked or ended, or is blocked
	s.forgetForeignLocked()
	if !s.healthyLocked() {
		return nil, given
	}
	if len(s.tasks) == 0 {
		return nil, undecided
	}
	if v := s.decided; v != undecided {
		s.decided = undecided
		return nil, v
	}
	next, v := s.decideLocked()
	if v == goOn {
		s.dispatchLocked(next)
	}
	return next, v
}

// healthyLocked tells whether the run can go on, and limits its steps.
func (s *Scheduler) healthyLocked() bool {
	if s.steps >= s.opts.MaxSteps && !s.endingLocked() {
		s.findLocked(&Finding{Kind: Endless, Message: "the run takes more steps than MaxSteps; " + s.whereLocked()})
	}
	return !s.endingLocked()
}

// forgetForeignLocked drops, at rest, goroutines whose end is not seen: they are known
// again when they reach another point.
func (s *Scheduler) forgetForeignLocked() {
	if !s.foreign {
		return
	}
	for i := len(s.tasks) - 1; i >= 0; i-- {
		if t := s.tasks[i]; t.foreign && !t.parked {
			s.removeLocked(t)
			t.gone = true
		}
	}
}

// sleep lets time pass until a task arrives at its gate or d has passed; it returns
// whether one did.
func (s *Scheduler) sleep(d time.Duration, op Op) bool {
	s.mu.Lock()
	s.asleep = true
	s.logLocked(&event{op: op})
	enabled, spin := s.enabledLocked()
	free := len(enabled) == 0 && !spin
	s.mu.Unlock()
	began := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	arrived := true
	select {
	case <-s.arrived:
	case <-timer.C:
		s.mu.Lock()
		arrived = !s.asleep
		s.asleep = false
		s.mu.Unlock()
		if arrived {
			<-s.arrived
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticked, s.fruitless = true, !arrived
	if free {
		s.idle += time.Since(began)
	}
	return arrived
}

// refresh lets tasks that spin look again: time has passed.
func (s *Scheduler) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dry = 0
	for _, t := range s.tasks {
		t.calm, t.yielded = 0, false
	}
}

// stuck makes a finding of a run in which nothing happens any more.
func (s *Scheduler) stuck() {
	s.mu.Lock()
	defer s.mu.Unlock()
	message := "no task can go on; "
	if s.main.ended {
		message = "the body has returned and no task can go on; "
	}
	s.findLocked(&Finding{Kind: Stuck, Message: message + s.whereLocked()})
}

// endingLocked tells whether the run is given up: what happens from now on does not count.
func (s *Scheduler) endingLocked() bool { return s.finding != nil || s.carrying }

// findLocked keeps the first finding.
func (s *Scheduler) findLocked(f *Finding) {
	if !s.endingLocked() {
		s.finding = f
	}
}

// carryLocked keeps a panic that must go on in the goroutine that called Run.
func (s *Scheduler) carryLocked(value any) {
	if !s.carrying {
		s.carried, s.carrying = value, true
	}
}

// carries tells whether a panic is rapid's way to abandon a check: it is for rapid alone.
func carries(value any) bool {
	t := reflect.TypeOf(value)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath() == "pgregory.net/rapid"
}

// Fail ends the run with err as its finding. It may be called by any goroutine of the run
// and returns at once; the first finding counts.
func (s *Scheduler) Fail(err error) {
	f := &Finding{Kind: Failed, Message: err.Error(), Err: err}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.findLocked(f)
}

// Idle returns how much time has passed while no task could go on: the time that bounds
// on progress are about. A task that was not chosen for a while is nobody's fault.
func (s *Scheduler) Idle() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idle
}

// result says what became of the run.
func (s *Scheduler) result() *Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.carrying {
		panic(s.carried)
	}
	r := &Result{
		Finding: s.finding, Steps: s.steps, Decisions: s.decisions, Preemptions: s.preemptions,
		Schedule: s.schedule, Hash: s.hash, Trace: s.traceLocked(),
	}
	for _, t := range s.tasks {
		r.Left = append(r.Left, t.name)
	}
	// Goroutines that could not be ended keep the run for ever, but not what it went through.
	s.everyone, s.events, s.keys = nil, nil, nil
	clear(s.objects)
	return r
}
