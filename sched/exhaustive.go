package sched

// Exhaustive enumerates the schedules of a program depth first, all of them or those with
// up to so many preemptions. One Exhaustive serves all runs of a search:
//
//	e := sched.NewExhaustive(2)
//	for e.Next() {
//		... one run under e
//	}
//
// The program must do the same whenever the choices are the same.
type Exhaustive struct {
	bound     int // preemptions; unbounded if negative
	path      []branch
	at        int // how much of path the present run has taken
	used      int // preemptions in path[:at]
	schedules int
	complete  bool
}

// branch is one decision on the path.
type branch struct {
	choice int
	n      int
	cost   []bool // by choice, whether it preempts; nil if none does
	used   int    // preemptions before this decision
}

// NewExhaustive returns a search through schedules with up to that many preemptions; a
// negative number is no bound.
func NewExhaustive(preemptions int) *Exhaustive { return &Exhaustive{bound: preemptions} }

// Next begins the next schedule. It returns false when all have been tried.
func (e *Exhaustive) Next() bool {
	if e.complete {
		return false
	}
	if e.schedules > 0 && !e.advance() {
		e.complete = true
		return false
	}
	e.schedules++
	e.at, e.used = 0, 0
	return true
}

// advance makes path the next one in depth-first order.
func (e *Exhaustive) advance() bool {
	e.path = e.path[:e.at]
	for len(e.path) > 0 {
		b := &e.path[len(e.path)-1]
		for b.choice++; b.choice < b.n; b.choice++ {
			if e.allowed(b) {
				return true
			}
		}
		e.path = e.path[:len(e.path)-1]
	}
	return false
}

// allowed tells whether the bound leaves room for the choice of b.
func (e *Exhaustive) allowed(b *branch) bool {
	return e.bound < 0 || b.cost == nil || !b.cost[b.choice] || b.used < e.bound
}

// Pick implements Strategy.
func (e *Exhaustive) Pick(c Choice) int {
	if c.Kind == Seed {
		return 0
	}
	if e.at == len(e.path) {
		e.path = append(e.path, e.branch(c))
	}
	b := &e.path[e.at]
	e.at++
	if b.cost != nil && b.cost[b.choice] {
		e.used++
	}
	return min(b.choice, c.N-1)
}

// branch returns a decision not met before, with its first choice.
func (e *Exhaustive) branch(c Choice) branch {
	b := branch{n: c.N, used: e.used}
	if c.Kind != NextTask {
		return b
	}
	for i := range c.N {
		if c.Preempts(i) {
			if b.cost == nil {
				b.cost = make([]bool, c.N)
			}
			b.cost[i] = true
		}
	}
	return b
}

// Prune implements Pruner.
func (e *Exhaustive) Prune(next int) {
	if e.at > 0 && e.at == len(e.path) {
		b := &e.path[e.at-1]
		b.choice = max(b.choice, next-1)
	}
}

// Schedules returns how many schedules were begun.
func (e *Exhaustive) Schedules() int { return e.schedules }

// Complete tells whether every schedule within the bound was tried.
func (e *Exhaustive) Complete() bool { return e.complete }
