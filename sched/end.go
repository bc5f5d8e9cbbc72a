package sched

import "testing/synctest"

// drainSteps is how many steps a run with a finding may still take for its tasks to end.
const drainSteps = 2000

// drain lets the tasks of a run with a finding go on, without preemption, until they have
// ended or get nowhere.
func (s *Scheduler) drain() {
	s.mu.Lock()
	s.decided = undecided
	s.mu.Unlock()
	for range drainSteps {
		synctest.Wait()
		s.mu.Lock()
		s.current = nil
		s.forgetForeignLocked()
		left := len(s.tasks)
		next, v := s.decideLocked()
		if v == goOn {
			s.letGoLocked(next)
		}
		s.mu.Unlock()
		switch {
		case left == 0:
			return
		case v == goOn:
			next.wake <- struct{}{}
		case !s.sleepQuietly():
			return
		}
		if v == spinning {
			s.refresh()
		}
	}
}

// letGoLocked is dispatchLocked for a run whose events no longer count.
func (s *Scheduler) letGoLocked(t *Task) {
	t.parked = false
	s.parked--
	t.ready = nil
	t.calm++
	s.current, s.last = t, t
	s.wroteLocked(t, t.next.op.info().effect)
	s.beat.Add(1)
}

// endSteps is how many tasks, beyond those that there were, are made to end: what is started
// whenever one ends never comes to an end, and would take all memory.
const endSteps = 1000

// end makes every task that is left call runtime.Goexit, one after the other: first those
// at their gates, then those that a closed channel or passing time brings there. Tasks that
// others start as they end are left at their gates if there are too many.
func (s *Scheduler) end() {
	close(s.kill)
	s.mu.Lock()
	most := len(s.everyone) + endSteps
	s.mu.Unlock()
	for {
		synctest.Wait()
		s.mu.Lock()
		s.current = nil
		s.forgetForeignLocked()
		var next *Task
		for _, t := range s.tasks {
			if t.parked {
				next = t
				break
			}
		}
		left, tooMany := len(s.tasks), len(s.everyone) > most
		if next != nil && !tooMany {
			s.letGoLocked(next)
			next.dying = true
		}
		s.mu.Unlock()
		switch {
		case tooMany:
			return
		case next != nil:
			next.wake <- struct{}{}
		case left == 0 || !s.sleepQuietly():
			return
		}
	}
}

// sleepQuietly lets time pass, which is no event.
func (s *Scheduler) sleepQuietly() bool {
	s.mu.Lock()
	steps, events, hash := s.steps, len(s.events), s.hash
	s.mu.Unlock()
	arrived := s.sleep(s.opts.MaxIdle, OpTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps, s.events, s.hash = steps, s.events[:events], hash
	return arrived
}
