package props

import (
	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
)

// fullStep is one drawn step of a run. Which operation it is depends on what is possible
// when its turn comes: the kind names a class in fullKinds, or the next possible one after
// it; pick chooses among the class's operations, and variant among the ways to do that.
type fullStep struct {
	kind    uint8 // 0 to 127
	pick    uint8 // 0 to 31
	variant uint8 // 0 to 3
}

// fullKind is a class of operations that are drawn together.
type fullKind struct {
	weight int // out of 128
	kinds  [2]model.OpKind
}

// fullKinds returns the classes, simplest first; the weights add up to 128. Starts mostly
// succeed and closing is rare, so that runs get deep.
func fullKinds() []fullKind {
	return []fullKind{
		{28, [2]model.OpKind{model.OpAcquire}},
		{22, [2]model.OpKind{model.OpStarted}},
		{14, [2]model.OpKind{model.OpRelease}},
		{14, [2]model.OpKind{model.OpTick}},
		{8, [2]model.OpKind{model.OpStopped}},
		{4, [2]model.OpKind{model.OpChecked}},
		{4, [2]model.OpKind{model.OpTold}},
		{4, [2]model.OpKind{model.OpTry}},
		{4, [2]model.OpKind{model.OpCancel}},
		{4, [2]model.OpKind{model.OpStartFailed}},
		{4, [2]model.OpKind{model.OpCheckFailed, model.OpTellFailed}},
		{4, [2]model.OpKind{model.OpReleaseUnusable, model.OpDiscard}},
		{4, [2]model.OpKind{model.OpEndSession}},
		{4, [2]model.OpKind{model.OpRetire}},
		{2, [2]model.OpKind{model.OpResize}},
		{2, [2]model.OpKind{fullOpStale, fullOpAgain}},
		{1, [2]model.OpKind{model.OpClose}},
		{1, [2]model.OpKind{model.OpForce}},
	}
}

// fullChooser turns drawn steps into operations.
type fullChooser struct {
	kinds []fullKind
	class [128]uint8     // of a drawn kind
	of    [fullOps]uint8 // class of an OpKind
	by    [][]model.Op   // the possible operations by class
}

func newFullChooser() *fullChooser {
	c := &fullChooser{kinds: fullKinds()}
	c.by = make([][]model.Op, len(c.kinds))
	n := 0
	for i, k := range c.kinds {
		for range k.weight {
			c.class[n] = uint8(i)
			n++
		}
		c.of[k.kinds[0]] = uint8(i)
		if k.kinds[1] != model.OpNone {
			c.of[k.kinds[1]] = uint8(i)
		}
	}
	return c
}

// chooser returns the target's chooser: checks follow one another and share it.
func (t *PoolTarget) chooser() *fullChooser {
	if t.choices == nil {
		t.choices = newFullChooser()
	}
	return t.choices
}

// choose returns the operation that step means among the possible ones, less those of the
// classes in omit; false if there is none.
func (c *fullChooser) choose(step fullStep, possible []model.Op, omit uint32) (model.Op, bool) {
	for i := range c.by {
		c.by[i] = c.by[i][:0]
	}
	for _, op := range possible {
		if k := c.of[op.Kind]; k == 0 || omit>>k&1 == 0 {
			c.by[k] = append(c.by[k], op)
		}
	}
	first := int(c.class[step.kind])
	for i := range c.by {
		if ops := c.by[(first+i)%len(c.by)]; len(ops) > 0 {
			return ops[int(step.pick)%len(ops)], true
		}
	}
	return model.Op{}, false
}

// fullBits draws n bits, each shrinking towards zero.
func fullBits(rt *rapid.T, bit *rapid.Generator[bool], n int) (v uint8) {
	for range n {
		v <<= 1
		if bit.Draw(rt, "bit") {
			v |= 1
		}
	}
	return v
}

// fullDrawOmit draws the classes of operations that a run does without, as a set: what
// seldom happens among everything else is frequent where half of that is missing.
func fullDrawOmit(rt *rapid.T) (omit uint32) {
	bit := rapid.Bool()
	if !bit.Draw(rt, "omit some") {
		return 0
	}
	for range 3 {
		omit = omit<<6 | uint32(fullBits(rt, bit, 6))
	}
	return omit
}

// fullDrawSteps draws the steps of a run; -rapid.steps sets how many on average.
func fullDrawSteps(rt *rapid.T) []fullStep {
	bit := rapid.Bool()
	steps := make([]fullStep, 0, 64)
	rt.Repeat(map[string]func(*rapid.T){
		"step": func(rt *rapid.T) {
			steps = append(steps, fullStep{
				kind: fullBits(rt, bit, 7), pick: fullBits(rt, bit, 5), variant: fullBits(rt, bit, 2),
			})
		},
	})
	return steps
}
