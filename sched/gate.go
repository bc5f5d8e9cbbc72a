package sched

import (
	"runtime"
	"slices"
	"unsafe"
)

// event is one step of a run.
type event struct {
	task   *Task // nil for time
	op     Op
	cause  Op // for OpWoke: what the task was blocked in
	object unsafe.Pointer
	number int // of the object
	label  string
	calls  []uintptr // where in the program, if positions were asked for

	preempts bool // choosing it cost a preemption
}

// pause parks the task until it is chosen to do what e says.
func (t *Task) pause(e event, ready func() bool) {
	if t.dying {
		return
	}
	s := t.s
	e.task = t
	if s.opts.Positions {
		e.calls = make([]uintptr, 12)
		e.calls = e.calls[:runtime.Callers(3, e.calls)]
	}
	s.mu.Lock()
	if t.gone {
		s.insertLocked(t)
	}
	t.next, t.ready = e, ready
	t.parked = true
	s.parked++
	t.yielded, t.patient = e.op == OpYield, e.op == OpRest
	var next *Task
	if t.solo && s.current == t && s.healthyLocked() && (ready == nil || ready()) {
		next = t
		s.dispatchLocked(t)
	} else {
		next = s.handOverLocked(t)
	}
	s.mu.Unlock()
	if next == t {
		return
	}
	if next != nil {
		next.wake <- struct{}{}
	}
	if !t.await() {
		runtime.Goexit()
	}
}

// handOverLocked is called when t has parked. It returns the task that goes on now, if
// that can be decided here: no task is on its way that could still arrive at its gate.
// Otherwise, it returns nil: the root decides, at rest.
func (s *Scheduler) handOverLocked(t *Task) *Task {
	s.arriveLocked()
	if s.current != t {
		return nil
	}
	s.current = nil
	if s.foreign || s.parked < len(s.tasks) || s.decided != undecided || !s.healthyLocked() {
		return nil
	}
	next, v := s.decideLocked()
	if v != goOn {
		s.decided = v
		return nil
	}
	s.dispatchLocked(next)
	return next
}

// arriveLocked wakes the root if it lets time pass.
func (s *Scheduler) arriveLocked() {
	if s.asleep {
		s.asleep = false
		s.arrived <- struct{}{} // has room: asleep is set again after it was received
	}
}

// removeLocked takes a task out of those that there are.
func (s *Scheduler) removeLocked(t *Task) {
	if i := slices.Index(s.tasks, t); i >= 0 {
		s.tasks = slices.Delete(s.tasks, i, i+1)
	}
	if t.parked {
		t.parked = false
		s.parked--
	}
}

// verdict is what a decision came to.
type verdict uint8

const (
	undecided verdict = iota
	goOn              // a task goes on
	passTime          // time passes, though a task could go on
	idle              // no task can go on: time passes
	spinning          // those that can go on wait for something in a loop: time passes
	given             // the run is given up
)

// decideLocked asks the strategy what happens next. No task runs.
func (s *Scheduler) decideLocked() (*Task, verdict) {
	enabled, blocked := s.enabledLocked()
	if len(enabled) == 0 {
		if blocked {
			return nil, spinning
		}
		return nil, idle
	}
	c := Choice{
		Kind: NextTask, N: len(enabled), Tasks: enabled,
		Continue: enabled[0] == s.last && !s.ticked, Holds: s.last != nil && s.last.locks > 0,
	}
	if !s.opts.IdleTimeOnly && !s.fruitless && !s.endingLocked() {
		c.Time = true
		c.N++
	}
	ending := s.endingLocked()
	picked := s.chooseLocked(c)
	if !ending && s.carrying {
		return nil, given
	}
	s.preempting = c.Preempts(picked)
	if s.preempting {
		s.preemptions++
	}
	if picked == len(enabled) {
		return nil, passTime
	}
	return enabled[picked], goOn
}

// enabledLocked lists the tasks that can go on: the one that ran last first, the others
// by identity. It tells whether there are more which could but spin.
func (s *Scheduler) enabledLocked() (enabled []*Task, spin bool) {
	s.enabled = s.enabled[:0]
	resting := false
	for _, t := range s.tasks {
		if !t.parked || t.ready != nil && !t.ready() {
			continue
		}
		switch {
		case t.calm >= s.opts.SpinPoints || s.dry >= s.opts.SpinPoints*spinAll:
			spin = true
		case t.yielded || t.patient:
			resting = true
		case t == s.last:
			s.enabled = slices.Insert(s.enabled, 0, t)
		default:
			s.enabled = append(s.enabled, t)
		}
	}
	if len(s.enabled) > 0 || !resting {
		return s.enabled, spin
	}
	// A task that yields to nobody goes on, and then one that waits for rest.
	for _, t := range s.tasks {
		if t.parked && t.yielded && t.calm < s.opts.SpinPoints {
			s.enabled = append(s.enabled, t)
		}
	}
	for _, t := range s.tasks {
		if len(s.enabled) == 0 && t.parked && t.patient {
			s.enabled = append(s.enabled, t)
		}
	}
	return s.enabled, spin
}

// spinAll, times SpinPoints, is after how many points without any change all tasks count
// as spinning: two of them may wait for each other's locks for ever.
const spinAll = 40

// chooseLocked asks the strategy and keeps what it chose. If the strategy panics the
// panic is kept for the root, and the choice is 0.
func (s *Scheduler) chooseLocked(c Choice) (picked int) {
	if c.N < 2 {
		return 0
	}
	if s.endingLocked() {
		return 0
	}
	defer func() {
		if r := recover(); r != nil {
			s.carryLocked(r)
			picked = 0
		}
	}()
	picked = s.strategy.Pick(c)
	if picked < 0 || picked >= c.N {
		panic("sched: the strategy chose a number that it was not offered")
	}
	if picked != 0 {
		s.schedule[s.decisions] = picked
	}
	s.decisions++
	return picked
}

// dispatchLocked lets t go on: the caller must open its gate.
func (s *Scheduler) dispatchLocked(t *Task) {
	t.parked = false
	s.parked--
	t.ready = nil
	if s.last != t {
		for _, other := range s.tasks {
			if other != t {
				other.yielded = false
			}
		}
	}
	s.current, s.last = t, t
	s.ticked, s.fruitless = false, false
	e := &t.next
	switch e.op {
	case OpLock, OpRLock:
		t.locks++
	case OpUnlock, OpRUnlock:
		t.locks = max(0, t.locks-1) // TryLock is not counted
	}
	t.calm++
	s.dry++
	s.wroteLocked(t, e.op.info().effect)
	s.logLocked(e)
}

// wroteLocked takes note of a step's effect on which tasks spin.
func (s *Scheduler) wroteLocked(t *Task, effect effect) {
	switch effect {
	case reads:
		return
	case writes:
		t.calm, s.dry = 0, 0
	}
	for _, other := range s.tasks {
		if other != t {
			other.calm = 0
		}
	}
}

// logLocked appends to what happened.
func (s *Scheduler) logLocked(e *event) {
	s.steps++
	s.beat.Add(1)
	e.preempts, s.preempting = s.preempting, false
	if e.object != nil {
		e.number = s.numberLocked(e.object)
	}
	h := mix(s.hash, uint64(e.op)|uint64(e.cause)<<8|uint64(e.number)<<16)
	if e.task != nil {
		h = mix(h, e.task.is.hash)
	}
	for i := range len(e.label) {
		h = mix(h, uint64(e.label[i]))
	}
	s.hash = h
	s.events = append(s.events, *e)
}

// numberLocked names an object by when it was first acted on. The map keeps the object
// alive, so that its address names no other one before the run ends.
func (s *Scheduler) numberLocked(object unsafe.Pointer) int {
	n, known := s.objects[object]
	if !known {
		n = len(s.objects) + 1
		s.objects[object] = n
	}
	return n
}

// The constants of FNV-1a: fast, and the same in every run of the program.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func mix(h, v uint64) uint64 {
	h = (h ^ v) * fnvPrime
	return h ^ h>>29
}
