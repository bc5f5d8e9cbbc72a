package props

import (
	"errors"
	"fmt"
	"testing"

	"github.com/poolproof/poolproof/model"
)

// conformer drives pools through a graph.
type conformer struct {
	target *PoolTarget
	graph  *model.Graph
	plan   *conformPlan
	bounds ConformBounds

	pools      int
	operations int
	unsure     int
	todo       int // pairs that were left before the last walk
	misses     int // walks in a row that left as many
	did        []conformStep
	extra      []model.Op
	finding    *Finding
}

// errConform says that graph and model differ, which finds nothing.
var errConform = errors.New("props: the graph is not that of the model")

// conformMisses is after how many misses a goal is given up.
const conformMisses = 20

// run opens pools until nothing is left or something is found.
func (c *conformer) run(t *testing.T) {
	m := &fullMachine{target: c.target, cfg: c.graph.Config(), guide: c}
	for again := c.bounds.Again; ; {
		if !c.aim() {
			if again == 0 || c.plan.again() == 0 {
				return
			}
			again--
			continue
		}
		c.pools++
		if err := c.target.judge(t, m); err != nil {
			if errors.Is(err, errFullOpen) || errors.Is(err, errConform) {
				t.Fatal(err)
			}
			c.finding = c.explain(t, m, err)
			return
		}
		if c.target.Report != nil {
			c.target.Report.Progress("full", "Conform", c.graph.Pairs()-c.plan.todo, c.graph.Pairs())
		}
	}
}

// lead drives a pool from its beginning until no pair that is left is near.
func (c *conformer) lead(m *fullMachine) error {
	c.did = c.did[:0]
	at, err := c.place(m)
	if err != nil {
		return err
	}
	at.fresh = c.plan.arrive(at.state, -1, -1)
	path, _ := c.plan.goal()
	for len(c.did) < c.bounds.WalkOps {
		if err := c.disturb(m, &at); err != nil {
			return err
		}
		pair, ok := c.choose(at.state, &path)
		if !ok {
			return nil
		}
		at.names.Turn(c.operations)
		op := at.names.Op(c.graph.Op(pair))
		if err := c.step(m, &at, pair, fullPlay{op, uint8(c.operations/4) % 4}.plain()); err != nil {
			return err
		}
		from := at
		if at, err = c.place(m); err != nil {
			return err
		}
		if err := c.note(&from, pair, &at); err != nil {
			return err
		}
	}
	return nil
}

// conformStep is what was done, and in which state.
type conformStep struct {
	state int
	pair  int // -1: an operation that changes nothing
	turn  int // of the names that are alike
	fullPlay
}

// conformPlace is where a pool is on the graph.
type conformPlace struct {
	state int
	names model.Names
	sure  bool // it can be nowhere else
	fresh bool // no pool was there before
}

// aim chooses the goal of the next walk; false if nothing is left where pools ever were. A
// goal is given up if walks to it do nothing new.
func (c *conformer) aim() bool {
	if c.pools == 0 {
		return true
	}
	if c.misses++; c.todo != c.plan.todo {
		c.todo, c.misses = c.plan.todo, 0
	}
	if c.misses > conformMisses {
		c.misses = 0
		c.plan.giveUp()
	}
	if c.pools&(c.pools-1) == 0 {
		c.plan.shorten()
	}
	_, ok := c.plan.goal()
	return ok
}

// place finds out where the pool is.
func (c *conformer) place(m *fullMachine) (at conformPlace, err error) {
	for i := range m.states {
		n, names, ok := c.graph.Find(&m.states[i])
		if !ok {
			return at, fmt.Errorf("%w: there is no %v", errConform, &m.states[i])
		}
		if i == 0 {
			at = conformPlace{state: n, names: names}
		}
	}
	at.sure = len(m.states) == 1
	if !at.sure {
		c.unsure++
	}
	return at, nil
}

// choose returns the next pair: that of the path, unless the pool has left it; else one
// that is left here, or leads to where some are. Only if there is none, pools are closed.
func (c *conformer) choose(n int, path *[]int32) (pair int, ok bool) {
	if len(*path) > 0 {
		pair = int((*path)[0])
		if from, end := c.graph.PairsOf(n); from <= pair && pair < end {
			*path = (*path)[1:]
			return pair, true
		}
	}
	for _, closing := range [...]bool{false, true} {
		if pair, ok = c.plan.here(n, closing); ok {
			*path = nil
			return pair, true
		}
		if *path = c.plan.near(n, closing); len(*path) > 0 {
			pair = int((*path)[0])
			*path = (*path)[1:]
			return pair, true
		}
	}
	return 0, false
}

func (c *conformer) step(m *fullMachine, at *conformPlace, pair int, play fullPlay) error {
	c.did = append(c.did, conformStep{at.state, pair, c.operations, play})
	c.operations++
	return m.step(play.op, play.variant)
}

// note enters a step in the plan, as far as it is known from where to where it led.
func (c *conformer) note(from *conformPlace, pair int, to *conformPlace) error {
	if !from.sure {
		return nil
	}
	c.plan.did(from.state, pair)
	if !to.sure {
		return nil
	}
	if !c.plan.took(pair, to.state) {
		return fmt.Errorf("%w: there is no edge of %v from state %d to %d", errConform, c.graph.Op(pair), from.state, to.state)
	}
	to.fresh = c.plan.arrive(to.state, from.state, pair)
	return nil
}

// disturb does, in a state that no pool was in before, operations that change nothing: an
// acquire whose context is done and a second release.
func (c *conformer) disturb(m *fullMachine, at *conformPlace) error {
	if !at.fresh {
		return nil
	}
	c.extra = m.live.harmless(c.extra[:0], m.cfg.Sessions)
	var did [fullOps]bool
	for _, op := range c.extra {
		if op.Kind == fullOpStale && int(op.Session) != at.state%(m.cfg.Sessions+1) || did[op.Kind] {
			continue
		}
		did[op.Kind] = true
		if err := c.step(m, at, -1, fullPlay{op: op}); err != nil {
			return err
		}
	}
	return nil
}
