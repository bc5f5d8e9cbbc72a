package faults

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// wireKinds are the faults of the wire by their names in plans, with the direction that they
// have unless option direction= says to, from or both.
func wireKinds() map[string]FrameFault {
	return map[string]FrameFault{
		"flip":      {Kind: FrameBitFlip, Direction: FromWorker},
		"truncate":  {Kind: FrameTruncate, Direction: FromWorker},
		"oversize":  {Kind: FrameOversize, Direction: FromWorker},
		"garbage":   {Kind: FrameGarbage, Direction: FromWorker},
		"duplicate": {Kind: FrameDuplicate, Direction: FromWorker},
		"late":      {Kind: FrameLate, Direction: FromWorker, For: time.Second},
		"wrong-id":  {Kind: FrameWrongID, Direction: FromWorker},
		"noise":     {Kind: FrameNoise, Direction: FromWorker},
		"loss":      {Kind: FrameLoss, Direction: FromWorker},
		"delay":     {Kind: FrameDelay, Direction: BothWays, For: 20 * time.Millisecond, Lasting: true},
		"partition": {Kind: FrameSilence, Direction: BothWays},
		"stall":     {Kind: FrameStall, Direction: ToWorker},
	}
}

// wireKit are the faults of the wire. Those of frames harm the next one that passes, delay
// (d=, jitter=), partition and stall last until they are healed.
func wireKit() Kit {
	kit := Kit{"exit-mid-frame": InjectorFunc(exitMidFrame), "start-version": InjectorFunc(startVersion)}
	for kind, f := range wireKinds() {
		kit[kind] = InjectorFunc(func(_ context.Context, v *Victim) (*Injury, error) {
			injury, err := v.frame(f)
			if err != nil {
				return nil, err
			}
			return injury.injury(), nil
		})
	}
	return kit
}

// frame injects a fault of the wire, with what the options say of it.
func (v *Victim) frame(f FrameFault) (*LinkInjury, error) {
	link := v.System.links.Of(v.Worker)
	if link == nil {
		return nil, fmt.Errorf("the channel of worker %d is not open", v.Worker)
	}
	directions := map[string]Direction{"to": ToWorker, "from": FromWorker, "both": BothWays, "": f.Direction}
	text := v.Options["direction"]
	direction, known := directions[text]
	if !known {
		return nil, fmt.Errorf("option direction is %q; want to, from or both", text)
	}
	var err, jitterErr error
	f.Direction, f.Rand = direction, v.Rand
	f.For, err = v.Options.Duration("d", f.For)
	f.Jitter, jitterErr = v.Options.Duration("jitter", 0)
	if err = errors.Join(err, jitterErr, f.Check()); err != nil {
		return nil, err
	}
	return link.Inject(f), nil
}

// injury is the fault as runs know it.
func (i *LinkInjury) injury() *Injury {
	return &Injury{
		Ends: i.Fatal(), Landed: i.Landed,
		Heal: func(context.Context) error {
			i.Heal()
			return nil
		},
	}
}

// exitMidFrame has a process die having sent a part of a frame: its next reply is cut, and it
// is killed. Seen: the host has met the end of file within the frame, and the process is
// reaped.
func exitMidFrame(_ context.Context, v *Victim) (*Injury, error) {
	p := v.Process()
	if p == nil {
		return nil, fmt.Errorf("worker %d has no process", v.Worker)
	}
	cut, err := v.frame(FrameFault{Kind: FrameTruncate, Direction: FromWorker})
	if err != nil {
		return nil, err
	}
	return &Injury{Ends: true, Landed: func(ctx context.Context) (string, error) {
		evidence, err := cut.Landed(ctx)
		if err != nil {
			return "", err
		}
		killed, err := endMidFrame(ctx, p)
		return evidence + ", " + killed, err
	}, Heal: func(context.Context) error {
		cut.Heal()
		return nil
	}}, nil
}

// endMidFrame ends a process whose channel is cut. Its host may have been first.
func endMidFrame(ctx context.Context, p *process.Worker) (string, error) {
	signalErr := p.Signal(syscall.SIGKILL)
	select {
	case <-p.Done():
		return fmt.Sprintf("process %d is reaped", p.PID()), nil
	case <-ctx.Done():
		return "", fmt.Errorf("process %d is still there (%w)", p.PID(), errors.Join(context.Cause(ctx), signalErr))
	}
}

// startVersion has the next start answer hello with a version that nobody speaks. Seen: the
// host has taken the answer.
func startVersion(_ context.Context, v *Victim) (*Injury, error) {
	if v.System.layer == Memory {
		return nil, errors.New("fakes in memory say no hello")
	}
	opened := make(chan *LinkInjury, 1)
	fault := FrameFault{Kind: FrameWrongVersion, Direction: FromWorker, Rand: v.Rand}
	withdraw := v.System.nextLink(func(l *Link) { opened <- l.Inject(fault) })
	return &Injury{Landed: func(ctx context.Context) (string, error) {
		select {
		case injury := <-opened:
			return injury.Landed(ctx)
		case <-ctx.Done():
			return "", errors.New("no start began")
		}
	}, Heal: func(context.Context) error {
		withdraw()
		return nil
	}}, nil
}

// nextLink has f called with the link of the next start that nobody else waits for.
// withdraw takes that back if none has come.
func (s *System) nextLink(f func(*Link)) (withdraw func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	entry := &f
	s.newcomers = append(s.newcomers, entry)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, e := range s.newcomers {
			if e == entry {
				s.newcomers = append(s.newcomers[:i:i], s.newcomers[i+1:]...)
				return
			}
		}
	}
}

// opens tells who waits for the next start of its link.
func (s *System) opens(l *Link) {
	s.mu.Lock()
	var f *func(*Link)
	if len(s.newcomers) > 0 {
		f, s.newcomers = s.newcomers[0], s.newcomers[1:]
	}
	s.mu.Unlock()
	if f != nil {
		(*f)(l)
	}
}
