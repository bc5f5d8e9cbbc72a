package sched

import "math/rand/v2"

// Seen gives key, which must be comparable, a number: 1 for the first key of the run, and
// so on. Keys that have no order of their own, such as pointers, get one in this way.
func (t *Task) Seen(key any) int {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	n, known := s.keys[key]
	if !known {
		if s.keys == nil {
			s.keys = map[any]int{}
		}
		n = len(s.keys) + 1
		s.keys[key] = n
	}
	return n
}

// seeds is how many different seeds a run can draw.
const seeds = 1 << 16

// Rand returns the source of what the run draws by itself. Its seed is a choice, asked
// for when the source is first needed; 0 means that what has an order keeps it, see
// Shuffled. The source is for the task that runs.
func (t *Task) Rand() *rand.Rand {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rng == nil {
		s.seed = uint64(s.chooseLocked(Choice{Kind: Seed, N: seeds}))
		s.rng = rand.New(rand.NewPCG(s.seed, 0))
	}
	return s.rng
}

// Shuffled tells whether what has no order in Go is to be shuffled with Rand.
func (t *Task) Shuffled() bool {
	t.Rand()
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	return t.s.seed != 0
}
