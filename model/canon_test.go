package model

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// everyConfig returns configurations that between them use every field of a key.
func everyConfig() []*Config {
	base := Config{
		MaxSize: 4, Clients: 6, Sessions: 4, SessionTTL: 3, BackoffMin: 1, BackoffMax: 4, StopTimeout: 2,
		Offer: OfferAll(Size{0, 2}, Size{1, 4}),
	}
	set := []func(c *Config){
		func(c *Config) {},
		func(c *Config) { c.Affinity = Sticky },
		func(c *Config) { c.Affinity, c.HasTell = Prefer, true },
		func(c *Config) { c.Affinity, c.MaxLeases, c.StartTimeout, c.AcquireTimeout = Prefer, 3, 2, 5 },
		func(c *Config) { c.HasCheck, c.HealthCheckPeriod, c.HealthCheckFailures, c.HasTell = true, 2, 2, true },
		func(c *Config) { c.Affinity, c.MaxLifetime, c.MaxIdleTime, c.IdleSlack, c.MinSize = Sticky, 5, 2, 1, 1 },
		func(c *Config) { c.MaxWaiters, c.MaxSessions, c.MaxSessionsPerWorker, c.StartConcurrency = 2, 3, 1, 2 },
	}
	configs := make([]*Config, len(set))
	for i := range set {
		c := base
		set[i](&c)
		configs[i] = &c
	}
	return configs
}

// wander visits states on random walks. It draws kinds of operations rather than
// operations, so that releases are as frequent as acquires, and few pools are closed.
func wander(cfg *Config, seed uint64, walks, steps int, visit func(s *State, op Op, nexts []Next)) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range walks {
		s := Initial(cfg).State
		for range steps {
			ops := Ops(cfg, &s, nil)
			r.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
			kind := OpKind(r.IntN(int(OpTick))) + 1
			op := ops[max(0, slices.IndexFunc(ops, func(op Op) bool { return op.Kind == kind }))]
			if rare := op.Kind == OpClose || op.Kind == OpForce || op.Kind == OpStartFailed; rare && r.IntN(8) > 0 {
				continue
			}
			nexts := Step(cfg, &s, op)
			visit(&s, op, nexts)
			s = nexts[r.IntN(len(nexts))].State
		}
	}
}

// renamed returns s with workers, sessions and clients renamed: what was i is order[i].
func renamed(s *State, workers, sessions, clients []int) State {
	t := *s
	for i := range s.live {
		w := s.workers[i]
		if w.holder != 0 {
			w.holder = uint8(clients[w.holder-1]) + 1
		}
		w.debts = renamedDebts(w.debts, sessions)
		t.workers[workers[i]] = w
	}
	for i, e := range s.sessions {
		if e.status == sessionBound {
			e.worker = uint8(workers[e.worker])
		}
		t.sessions[sessions[i]] = e
	}
	for i, c := range s.clients {
		if c.session != 0 {
			c.session = Session(sessions[c.session-1]) + 1
		}
		if c.phase == clientHolding {
			c.worker = uint8(workers[c.worker])
		}
		t.clients[clients[i]] = c
	}
	for i, c := range s.queue[:s.waiting] {
		t.queue[i] = uint8(clients[c])
	}
	return t
}

func renamedDebts(d debts, sessions []int) (to debts) {
	for ; d != 0; d >>= 4 {
		to = to.with(Session(sessions[d.first()-1]) + 1)
	}
	return to
}

// shuffled returns an order of n, of which only the first few change places.
func shuffled(r *rand.Rand, n, few int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	r.Shuffle(few, func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// nameless drops what a key does not keep.
func nameless(s State) State {
	s.began = 0
	for i := range s.workers {
		w := &s.workers[i]
		w.id = 0
		n := w.debts.count()
		w.debts = 0
		for i := range n {
			w.debts = w.debts.with(Session(i) + 1)
		}
	}
	if s.closing != closingNot {
		s.least, s.most = 0, 0
	}
	return s
}

// TestKeyIgnoresNames: renaming changes no key.
func TestKeyIgnoresNames(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for i, cfg := range everyConfig() {
		l, err := newLayout(cfg)
		if err != nil {
			t.Fatal(err)
		}
		wander(cfg, uint64(i), 150, 60, func(s *State, _ Op, _ []Next) {
			workers := shuffled(r, MaxWorkerSlots, int(s.live))
			other := renamed(s, workers, shuffled(r, MaxSessionSlots, cfg.Sessions), shuffled(r, MaxClientSlots, cfg.Clients))
			if l.pack(s) != l.pack(&other) {
				t.Fatalf("config %d: these states have other keys:\n%v\n%v", i, s, &other)
			}
		})
	}
}

// TestKeyTellsStates: a key is that of no other state: what is made from it is the state
// itself under some renaming, which is sought among all of them.
func TestKeyTellsStates(t *testing.T) {
	for i, cfg := range everyConfig() {
		l, err := newLayout(cfg)
		if err != nil {
			t.Fatal(err)
		}
		tried := map[key]bool{}
		wander(cfg, uint64(10+i), 60, 120, func(s *State, _ Op, _ []Next) {
			k := l.pack(s)
			if tried[k] {
				return
			}
			tried[k] = true
			back := l.unpack(&k)
			if again := l.pack(&back); again != k {
				t.Fatalf("config %d: the key changes when it is read:\n%v\n%v", i, s, &back)
			}
			if !isomorphic(cfg, s, &back) {
				t.Fatalf("config %d: no renaming turns one into the other:\n%v\n%v", i, s, &back)
			}
		})
	}
}

// isomorphic tries all renamings of workers and sessions; that of clients follows: those
// who wait by the queue, those who hold by their workers, the others are alike.
func isomorphic(cfg *Config, s, t *State) bool {
	want := nameless(*t)
	same := func(workers, sessions []int) bool {
		got := renamed(s, workers, sessions, clientsLike(s, t, workers))
		return nameless(got) == want
	}
	found := false
	permutations(int(s.live), MaxWorkerSlots, func(workers []int) {
		permutations(cfg.Sessions, MaxSessionSlots, func(sessions []int) {
			found = found || same(workers, sessions)
		})
	})
	return found
}

// clientsLike gives the clients of s the names that those of t have.
func clientsLike(s, t *State, workers []int) []int {
	order := make([]int, MaxClientSlots)
	var given, taken [MaxClientSlots]bool
	name := func(from, to uint8) {
		order[from] = int(to)
		given[from], taken[to] = true, true
	}
	for i := range min(s.waiting, t.waiting) {
		name(s.queue[i], t.queue[i])
	}
	for i := range s.live {
		if from, to := s.workers[i].holder, t.workers[workers[i]].holder; from != 0 && to != 0 {
			name(from-1, to-1)
		}
	}
	for from := range s.clients {
		for to := range t.clients {
			if !given[from] && !taken[to] && s.clients[from].phase == t.clients[to].phase {
				name(uint8(from), uint8(to))
			}
		}
	}
	for from := range s.clients {
		for to := range t.clients {
			if !given[from] && !taken[to] {
				name(uint8(from), uint8(to))
			}
		}
	}
	return order
}

// permutations calls visit with every order of n that only changes the first few.
func permutations(few, n int, visit func([]int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var try func(i int)
	try = func(i int) {
		if i >= few {
			visit(order)
			return
		}
		for j := i; j < few; j++ {
			order[i], order[j] = order[j], order[i]
			try(i + 1)
			order[i], order[j] = order[j], order[i]
		}
	}
	try(0)
}
