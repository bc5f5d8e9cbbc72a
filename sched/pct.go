package sched

import "math/rand/v2"

// PCT runs the task of the highest priority, and changes priorities at a few points of
// the run only (Burckhardt et al., "A randomized scheduler with probabilistic guarantees
// of finding bugs", 2010). A fault that needs d ordering constraints to show in a program of n tasks
// and k points is found with probability at least 1/(n·k^(d-1)), whatever the program.
type PCT struct {
	rng      *rand.Rand
	changes  map[int]bool
	point    int
	lowest   int64 // priorities below every one given so far
	priority map[*Task]int64
}

// NewPCT returns a PCT for one run, drawn from seed: depth-1 changes of priority, spread
// over a run of about that many points.
func NewPCT(seed uint64, depth, points int) *PCT {
	p := &PCT{
		rng:      rand.New(rand.NewPCG(seed, 0)),
		changes:  map[int]bool{},
		priority: map[*Task]int64{},
	}
	for range depth - 1 {
		p.changes[p.rng.IntN(max(points, 1))] = true
	}
	return p
}

// Pick implements Strategy.
func (p *PCT) Pick(c Choice) int {
	if c.Kind != NextTask {
		return p.rng.IntN(c.N)
	}
	change := p.changes[p.point]
	p.point++
	best := p.best(c.Tasks)
	if !change {
		return best
	}
	// Letting time pass is one of the ways in which the best task may have to wait.
	if c.Time && p.rng.IntN(len(c.Tasks)+1) == 0 {
		return c.N - 1
	}
	p.lowest--
	p.priority[c.Tasks[best]] = p.lowest
	return p.best(c.Tasks)
}

// best returns the number of the task of the highest priority. A task gets its priority
// when it is seen first.
func (p *PCT) best(tasks []*Task) int {
	best, highest := 0, int64(0)
	for i, t := range tasks {
		got, known := p.priority[t]
		if !known {
			got = p.rng.Int64()
			p.priority[t] = got
		}
		if i == 0 || got > highest {
			best, highest = i, got
		}
	}
	return best
}
