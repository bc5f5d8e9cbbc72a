package model

import "math/bits"

// Next is one way in which a step can end.
type Next struct {
	State  State
	Events Events

	passed bool // only on the way to others
}

// Initial returns the state of a new pool, and what making it shows.
func Initial(cfg *Config) Next {
	m := machine{cfg: cfg}
	m.s.least, m.s.most = uint8(cfg.MinSize), uint8(cfg.MaxSize)
	m.settle()
	return m.next()
}

// Step returns every way in which op can end in s, each once, in no particular order.
// There is none if op is not possible in s. Neither cfg nor s is changed.
func Step(cfg *Config, s *State, op Op) []Next {
	return AppendStep(nil, cfg, s, op)
}

// AppendStep is [Step] that appends to dst. It allocates nothing if dst has room for about
// twice the result.
func AppendStep(dst []Next, cfg *Config, s *State, op Op) []Next {
	m := machine{cfg: cfg}
	return m.appendStep(dst, s, op)
}

func (m *machine) appendStep(dst []Next, s *State, op Op) []Next {
	if !Enabled(m.cfg, s, op) {
		return dst
	}
	base := len(dst)
	if m.single(s, op) {
		return append(dst, m.next())
	}
	dst = append(dst, Next{State: *s})
	if op.Kind != OpTick { // what may happen at this very moment may happen before op
		dst = m.appendDue(dst, base)
	}
	ready := len(dst)
	for i := base; i < ready; i++ {
		dst[i].passed = true
		dst = m.appendRuns(dst, i, ready, op, noDeadline)
	}
	return compact(m.appendDue(dst, ready), base)
}

// single runs op in s, and says whether this is the only way in which it can end.
func (m *machine) single(s *State, op Op) bool {
	if m.cfg.MaxIdleTime > 0 && op.Kind != OpTick {
		if _, may := s.due(m.cfg); may != 0 {
			return false
		}
	}
	m.s, m.events.n, m.taken, m.noted = *s, 0, 0, 0
	m.do(op)
	m.settle()
	if m.cfg.MaxIdleTime > 0 || op.Kind == OpTick {
		if must, may := m.s.due(m.cfg); must|may != 0 {
			return false
		}
	}
	return m.noted == 0
}

// appendDue adds to dst[base:] all that can follow from serving, in any order, the
// deadlines that have been reached. States in which one must be served are passed.
func (m *machine) appendDue(dst []Next, base int) []Next {
	for i := base; i < len(dst); i++ {
		must, may := dst[i].State.due(m.cfg)
		dst[i].passed = must != 0
		for left := must | may; left != 0; left &= left - 1 {
			dst = m.appendRuns(dst, i, base, Op{}, deadline(bits.TrailingZeros32(left)))
		}
	}
	return dst
}

// appendRuns runs op, and serves deadline d, in dst[from], with every choice. It appends
// the results that dst[base:] does not have.
func (m *machine) appendRuns(dst []Next, from, base int, op Op, d deadline) []Next {
	m.noted = 0
	for {
		m.s, m.events, m.taken = dst[from].State, dst[from].Events, 0
		m.do(op)
		m.serveDeadline(d)
		m.settle()
		dst = m.appendNew(dst, base)
		if !m.again() {
			return dst
		}
	}
}

// compact removes what is passed from dst[base:].
func compact(dst []Next, base int) []Next {
	kept := base
	for i := base; i < len(dst); i++ {
		if !dst[i].passed {
			if kept != i {
				dst[kept] = dst[i]
			}
			kept++
		}
	}
	return dst[:kept]
}

// appendNew appends the machine's state to dst unless dst[base:] has it.
func (m *machine) appendNew(dst []Next, base int) []Next {
	m.events.sort()
	for i := base; i < len(dst); i++ {
		if dst[i].State == m.s && dst[i].Events == m.events {
			return dst
		}
	}
	return append(dst, m.next())
}

// machine runs one op on a copy of a state. Where the pool is free to choose, it runs the
// op again for each choice: it takes the choices noted in the script, and the first
// possible one, which it notes, after the script's end.
type machine struct {
	cfg    *Config
	s      State
	events Events
	quiet  bool // keep no events

	script [maxChoices]choice
	taken  int // choices of the current run
	noted  int // length of the script
}

type choice struct{ taken, of uint8 }

// maxChoices bounds the free choices of one op.
const maxChoices = 32

// choose returns a free choice out of n.
func (m *machine) choose(n int) int {
	if n == 1 {
		return 0
	}
	if m.taken == m.noted {
		m.script[m.noted] = choice{of: uint8(n)}
		m.noted++
	}
	c := m.script[m.taken].taken
	m.taken++
	return int(c)
}

// again prepares the script for the next run; false if all choices were taken.
func (m *machine) again() bool {
	for m.noted = m.taken; m.noted > 0; m.noted-- {
		last := &m.script[m.noted-1]
		if last.taken+1 < last.of {
			last.taken++
			return true
		}
	}
	return false
}

func (m *machine) next() Next {
	m.events.sort()
	clear(m.events.list[m.events.n:])
	return Next{State: m.s, Events: m.events}
}

func (m *machine) emit(e Event) {
	if !m.quiet {
		m.events.add(e)
	}
}

// do changes the state as op says; what follows from that by itself is left to settle.
func (m *machine) do(op Op) {
	switch op.Kind {
	case OpAcquire, OpTry:
		m.acquire(op)
	case OpCancel:
		m.leave(m.place(uint8(op.Client-1)), ReasonCancelled)
	case OpRelease, OpReleaseUnusable, OpDiscard:
		m.release(op)
	case OpGiveBack:
		m.giveBack(op)
	case OpEndSession:
		m.endSession(op.Session)
	case OpRetire:
		m.retire(op.Worker)
	case OpResize:
		if m.s.closing == closingNot {
			m.s.least, m.s.most = op.Min, op.Max
		}
	case OpClose, OpForce:
		m.close(op.Kind == OpForce)
	case OpStarted, OpStartFailed:
		m.startReturned(op.Worker, op.Kind == OpStarted)
	case OpStopped:
		slot, _ := m.s.slot(op.Worker)
		m.remove(slot)
	case OpChecked, OpCheckFailed:
		m.checkReturned(op.Worker, op.Kind == OpChecked)
	case OpTold, OpTellFailed:
		m.tellReturned(op.Worker, op.Kind == OpTold)
	case OpTick:
		m.tick()
	}
}
