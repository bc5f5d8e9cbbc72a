package linearize

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// simConfig says what a simulated pool is like, how it is used, and what is wrong with it.
type simConfig struct {
	Config
	seed               uint64
	ops                int
	clients, sessions  int
	tries, cancels     bool
	discards, ends     bool
	resizes, closes    bool
	unanswered         int
	tokens, seqs       bool // the pool numbers leases, and changes
	reports            bool // it reports its changes
	parked             bool // it is known who waits
	fault              simFault
	faultAt            float64 // the fraction of the ops after which the fault shows, once
	think              int     // the longest pause of a client; 0: 100
	longHolds, prompts bool    // leases are held for long; calls take no time to speak of
}

// simFault is a way in which a simulated pool is broken.
type simFault string

const (
	simDoubleGrant  simFault = "double-grant"
	simLostBinding  simFault = "lost-binding"
	simBoundTwice   simFault = "bound-twice"
	simAfterClose   simFault = "grant-after-close"
	simRefusedFree  simFault = "refused-though-free"
	simToCancelled  simFault = "grant-to-cancelled"
	simLateEffect   simFault = "late-effect-of-unknown"
	simOutOfOrder   simFault = "out-of-order"
	simOverCapacity simFault = "over-capacity"
	simDeadGranted  simFault = "grant-of-discarded"
	simFalseLoss    simFault = "lost-without-reason"
	simCloseEarly   simFault = "close-before-leases"
)

// sim is a pool in which nothing is concurrent but the intervals of the calls. It shares
// nothing with the rules by which histories are judged.
type sim struct {
	cfg      simConfig
	rng      *rand.Rand
	now      time.Duration
	agenda   agenda
	order    int
	h        *History
	workers  []*simWorker
	queue    []*simWaiter
	sessions map[string]*simSession
	capacity int
	out      int
	seq      uint64
	token    uint64
	nextID   uint64
	closing  bool
	onClosed []func()
	left     int // unanswered calls to come
	fired    bool
}

type simWorker struct {
	id    uint64
	lease *simLease
	stale *simLease // a lease of it that ends twice
}

type simLease struct {
	op      *Op
	worker  *simWorker
	session *simSession
	epoch   int
}

type simSession struct {
	name   string
	worker *simWorker
	lost   bool
	uses   int // leases and waiters
	epoch  int
	idle   time.Duration
}

type simWaiter struct {
	op      *Op
	granted func(*simLease)
	refused func(Outcome)
}

type happening struct {
	at    time.Duration
	order int
	do    func()
}

type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any     { old := *a; x := old[len(old)-1]; *a = old[:len(old)-1]; return x }

// simulate returns the history of a simulated pool.
func simulate(cfg simConfig) *History {
	s := &sim{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.seed, 17)), sessions: map[string]*simSession{}, capacity: cfg.Capacity,
		h: &History{Head: Head{Pool: "simulated", Seed: cfg.seed, Config: cfg.Config}}, left: cfg.unanswered,
	}
	if cfg.fault != "" {
		s.h.Head.Pool = "simulated, broken: " + string(cfg.fault)
	}
	for range cfg.Capacity {
		s.hire()
	}
	for c := range cfg.clients {
		s.after(s.some(1000), func() { s.next(c + 1) })
	}
	for len(s.agenda) > 0 {
		e := heap.Pop(&s.agenda).(happening)
		s.now = e.at
		e.do()
	}
	s.finish()
	return s.h
}

// finish puts the ops in order of calls.
func (s *sim) finish() {
	ops := s.h.Ops
	old := map[int]int{}
	slices.SortStableFunc(ops, func(a, b Op) int { return int(a.Call - b.Call) })
	for i := range ops {
		old[ops[i].ID] = i + 1
		ops[i].ID = i + 1
	}
	for i := range ops {
		if ops[i].Lease != 0 {
			ops[i].Lease = old[ops[i].Lease]
		}
	}
}

func (s *sim) after(d time.Duration, do func()) {
	s.order++
	heap.Push(&s.agenda, happening{s.now + d, s.order, do})
}

func (s *sim) some(most int) time.Duration { return time.Duration(1 + s.rng.IntN(most)) }

func (s *sim) hire() *simWorker {
	s.nextID++
	w := &simWorker{id: s.nextID}
	s.workers = append(s.workers, w)
	return w
}

// faulty reports, once, that the fault is to show now.
func (s *sim) faulty(f simFault) bool {
	if s.cfg.fault != f || s.fired || float64(len(s.h.Ops)) < s.cfg.faultAt*float64(s.cfg.ops) {
		return false
	}
	s.fired = true
	return true
}

// change numbers a change and reports it.
func (s *sim) change(c Change) uint64 {
	s.seq++
	c.Seq, c.At = s.seq, s.now
	if s.cfg.reports {
		s.h.Changes = append(s.h.Changes, c)
	}
	if s.cfg.seqs || s.cfg.reports {
		return s.seq
	}
	return 0
}

// next has a client call something, and go on.
func (s *sim) next(client int) {
	if len(s.h.Ops) >= s.cfg.ops {
		return
	}
	op := Op{Client: client, Kind: Acquire}
	if s.cfg.sessions > 0 && s.rng.IntN(4) > 0 {
		op.Session = fmt.Sprintf("s%d", s.rng.IntN(s.cfg.sessions))
	}
	switch n := s.rng.IntN(100); {
	case n < 15 && s.cfg.tries:
		op.Kind = Try
	case n < 20 && s.cfg.ends && op.Session != "":
		op.Kind = EndSession
	case n < 22 && s.cfg.resizes:
		op.Kind, op.Session = Resize, ""
		op.Max = 1 + s.rng.IntN(2*s.cfg.Capacity)
	case s.cfg.closes && !s.closing && len(s.h.Ops) > s.cfg.ops*3/4:
		op.Kind, op.Session = Close, ""
	}
	s.call(op, func() { s.pause(client) })
}

// call makes a call, whose effect comes a little later, and goes on when it has returned.
func (s *sim) call(op Op, goOn func()) {
	op.ID, op.Call = len(s.h.Ops)+1, s.now
	s.h.Ops = append(s.h.Ops, op)
	at := len(s.h.Ops) - 1
	o := &op
	answered := s.left == 0 || s.rng.IntN(s.cfg.ops) >= 4*s.cfg.unanswered
	if !answered {
		s.left--
		if s.rng.IntN(2) == 0 {
			return // it never arrived
		}
	}
	back := func() {
		late := time.Duration(0)
		if !s.cfg.prompts {
			late = s.some(50)
		}
		s.after(late, func() {
			if !answered {
				return
			}
			o.Return = s.now
			s.h.Ops[at] = *o
			if o.Outcome != Granted { // else hold goes on
				goOn()
			}
		})
	}
	s.after(s.some(50), func() { s.arrive(o, back) })
}

// arrive has a call take effect; back is called when it returns.
func (s *sim) arrive(o *Op, back func()) {
	switch o.Kind {
	case Acquire, Try:
		s.acquire(o, func(l *simLease) {
			back()
			s.hold(o, l)
		}, func(out Outcome) {
			o.Outcome = out
			back()
		})
		return
	case EndSession:
		if x := s.sessions[o.Session]; x != nil {
			o.Seq = s.change(Change{Kind: SessionEnded, Session: o.Session})
			s.forget(x)
			s.match()
		} else if !s.cfg.reports {
			o.Seq = s.change(Change{})
		}
	case Resize:
		s.resize(o)
	case Close:
		s.close(o, back)
		return
	}
	if o.Outcome == NoAnswer {
		o.Outcome = Done
	}
	back()
}

// hold uses a lease for a while after its acquire has returned, and ends it.
func (s *sim) hold(o *Op, l *simLease) {
	long := 200
	if s.cfg.longHolds {
		long = 5000
	}
	id, client, worker := o.ID, o.Client, o.Worker
	s.after(60+s.some(long), func() { // 60: by then it has returned
		if s.h.Ops[id-1].Outcome == NoAnswer {
			return // nobody has the lease
		}
		end := Op{Client: client, Kind: Release, Lease: id, Worker: worker}
		if s.cfg.discards && s.rng.IntN(10) == 0 {
			end.Kind = Discard
		}
		end.ID, end.Call = len(s.h.Ops)+1, s.now
		s.h.Ops = append(s.h.Ops, end)
		at := len(s.h.Ops) - 1
		s.after(s.some(50), func() {
			s.h.Ops[at].Seq = s.release(l, end.Kind == Discard)
			s.after(s.some(50), func() {
				if s.cfg.fault == simLateEffect && s.faulty(simLateEffect) {
					s.repeat(l) // its answer is lost, and later it takes effect again
					return
				}
				s.h.Ops[at].Outcome, s.h.Ops[at].Return = Done, s.now
				s.pause(client)
			})
		})
	})
}

// pause has a client go on after a while.
func (s *sim) pause(client int) {
	most := s.cfg.think
	if most == 0 {
		most = 100
	}
	s.after(s.some(most), func() { s.next(client) })
}
