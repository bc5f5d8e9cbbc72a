package props

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/model"
)

// fullUnjudged is a run without the model: Progress or Accounting.
type fullUnjudged struct {
	target *PoolTarget
	cfg    *model.Config
	steps  []fullStep // Progress
	omit   uint32     // Progress
	free   *fullFree  // Accounting
	script fullScript
}

func drawFullProgress(t *PoolTarget, rt *rapid.T) fullJudge {
	u := &fullUnjudged{target: t, cfg: t.config(rt)}
	u.omit = fullDrawOmit(rt)
	u.steps = fullDrawSteps(rt)
	return u
}

func drawFullAccounting(t *PoolTarget, rt *rapid.T) fullJudge {
	u := &fullUnjudged{target: t, cfg: t.config(rt)}
	u.free = fullDrawFree(rt, u.cfg.Clients)
	return u
}

// GoString keeps rapid from printing what the report says better.
func (u *fullUnjudged) GoString() string { return "see the script" }

func (u *fullUnjudged) length() int {
	if u.free != nil {
		return u.free.length()
	}
	return u.script.length()
}

func (u *fullUnjudged) report() string {
	text := fmt.Sprintf("%s\n\n%s", fullConfigText(u.cfg), u.script.columns(u.cfg.Clients))
	if u.free != nil {
		text += fmt.Sprintf("\ndeeds:\n%s", u.free)
	}
	return text
}

func (u *fullUnjudged) run() (err error) {
	u.script.lines = u.script.lines[:0]
	r, err := fullOpen(u.target, u.cfg, u.target.tick(), u.target.clock())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.abandon()
		}
	}()
	lim := u.target.limits(u.cfg)
	r.clock.rest(r)
	r.collect()
	if err := r.settled(); err != nil {
		return err
	}
	u.script.add(fullPlay{}, r.seen)
	if u.free != nil {
		return u.free.run(r, lim, u.script.remark)
	}
	if err := u.drive(r, lim); err != nil {
		return err
	}
	return r.progress(lim, u.script.remark)
}

// drive does the drawn steps: most of them one at a time, some two at once.
func (u *fullUnjudged) drive(r *fullRun, lim *fullLimits) error {
	chooser := u.target.chooser()
	var possible []model.Op
	for i := 0; i < len(u.steps); i++ {
		step := u.steps[i]
		possible = r.possible(possible[:0], lim)
		op, ok := chooser.choose(step, possible, u.omit)
		if !ok {
			return nil
		}
		if step.variant == 3 && op.Kind != model.OpTick && i+1 < len(u.steps) {
			if also, ok := chooser.choose(u.steps[i+1], fullBeside(possible, op), u.omit); ok {
				i++
				u.script.add(fullPlay{op, step.variant}, nil)
				u.script.remark("at the same time")
				if err := r.apply(op, step.variant); err != nil {
					return err
				}
				err := r.do(also, u.steps[i].variant, op)
				u.script.add(fullPlay{also, u.steps[i].variant}, r.seen)
				if err != nil {
					return err
				}
				continue
			}
		}
		err := r.do(op, step.variant)
		u.script.add(fullPlay{op, step.variant}, r.seen)
		if err != nil {
			return err
		}
	}
	return nil
}

// fullBeside leaves those operations that can be done while op is under way, and puts the
// cancelling of op first if it is an acquire.
func fullBeside(possible []model.Op, op model.Op) []model.Op {
	left := make([]model.Op, 0, len(possible)+1)
	if op.Kind == model.OpAcquire {
		left = append(left, model.Op{Kind: model.OpCancel, Client: op.Client})
	}
	called := func(op model.Op) bool { return op.Worker == 0 || op.Kind == model.OpRetire }
	for _, other := range possible {
		apart := other.Kind != model.OpTick && other.Kind != model.OpResize &&
			!(called(op) && called(other) && op.Client == other.Client) &&
			!(op.Worker != 0 && op.Worker == other.Worker)
		if apart {
			left = append(left, other)
		}
	}
	return left
}

func (t *PoolTarget) clock() fullClock {
	if t.RealTime {
		return &fullReal{quiet: 4 * time.Millisecond, deadline: 5 * time.Second, length: t.tick()}
	}
	return fullBubble{}
}

// tick is the length of a tick when no model counts them.
func (t *PoolTarget) tick() time.Duration {
	if t.RealTime {
		return 5 * time.Millisecond
	}
	return fullTick
}
