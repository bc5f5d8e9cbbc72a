package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/poolproof/poolproof/faults"
)

// The faults, by the option that asks for one. It must be exactly one of them.
//
//   - latency=200ms jitter=50ms delays all bytes.
//   - reset=0s resets connections so long after their next bytes.
//   - cut=both lets nothing through, and drops it. Connections that it hit are closed
//     when it is healed.
//   - slow-close=500ms delays the end of connections that clients close.
//   - limit=100 closes a connection after so many bytes.
//
// Latency and limit may have way=in, out or both; without, latency is for both, and limit for
// what the service answers (in).
const (
	optionLatency   = "latency"
	optionJitter    = "jitter"
	optionReset     = "reset"
	optionCut       = "cut"
	optionSlowClose = "slow-close"
	optionLimit     = "limit"
	optionWay       = "way"
)

// silence is for how long nothing must have come out of a way that is cut.
const silence = 100 * time.Millisecond

// harm is a fault, as toxiproxy and the observer need it.
type harm struct {
	toxic      string // toxiproxy's name for it
	attributes map[string]int64
	way        Way
	// look returns what finds its evidence. since is when it was injected.
	look func(since time.Time) func(event) string
	what string // that was not seen, if nothing is
}

// Injector returns the injector of faults of the network, for a kit of package faults. It
// ignores the victim but for its options.
func (p *Proxy) Injector() faults.Injector {
	return faults.InjectorFunc(func(_ context.Context, v *faults.Victim) (*faults.Injury, error) {
		h, err := parse(v.Options)
		if err != nil {
			return nil, err
		}
		return p.inject(h)
	})
}

// inject sets a fault going.
func (p *Proxy) inject(h *harm) (*faults.Injury, error) {
	p.mu.Lock()
	p.faults++
	name := fmt.Sprintf("fault-%d", p.faults)
	p.mu.Unlock()
	since := time.Now()
	observer := p.observe(h.look(since))
	var added []string
	heal := func(ctx context.Context) (err error) {
		for _, toxic := range added {
			err = errors.Join(err, p.toxic.Toxics.RemoveToxic(ctx, toxic))
		}
		return err
	}
	for way, stream := range map[Way]string{Out: "upstream", In: "downstream"} {
		if !h.way.has(way) {
			continue
		}
		toxic, err := json.Marshal(map[string]any{
			"name": name + "-" + stream, "type": h.toxic, "stream": stream, "toxicity": 1, "attributes": h.attributes,
		})
		if err == nil {
			_, err = p.toxic.Toxics.AddToxicJson(bytes.NewReader(toxic))
		}
		if err != nil {
			return nil, errors.Join(err, heal(context.Background()))
		}
		added = append(added, name+"-"+stream)
	}
	return &faults.Injury{
		Landed: func(ctx context.Context) (string, error) { return p.await(ctx, observer, h.what) },
		Heal:   heal,
	}, nil
}

// parse reads options.
func parse(o faults.Options) (*harm, error) {
	kinds := map[string]func(faults.Options) (*harm, error){
		optionLatency: latency, optionReset: reset, optionCut: cut, optionSlowClose: slowClose, optionLimit: limit,
	}
	var named []string
	for key := range o {
		switch {
		case kinds[key] != nil:
			named = append(named, key)
		case key != optionJitter && key != optionWay:
			return nil, fmt.Errorf("option %s is unknown; want one of latency (with jitter), reset, cut, slow-close and limit", key)
		}
	}
	slices.Sort(named)
	if len(named) != 1 {
		return nil, fmt.Errorf("the options name %d faults (%s); want one of latency, reset, cut, slow-close and limit", len(named), strings.Join(named, ", "))
	}
	return kinds[named[0]](o)
}

// wayOf reads an option that is a way.
func wayOf(o faults.Options, key string, otherwise Way) (Way, error) {
	text, given := o[key]
	if !given {
		return otherwise, nil
	}
	if w := Way(text); w == Out || w == In || w == Both {
		return w, nil
	}
	return "", fmt.Errorf("option %s is %q; want out, in or both", key, text)
}

func latency(o faults.Options) (*harm, error) {
	delay, err := o.Duration(optionLatency, 0)
	jitter, jitterErr := o.Duration(optionJitter, 0)
	way, wayErr := wayOf(o, optionWay, Both)
	if err := errors.Join(err, jitterErr, wayErr); err != nil {
		return nil, err
	}
	least := delay - jitter
	if least <= 0 {
		return nil, fmt.Errorf("option latency is %v and jitter %v; the first must be more, so that a delay can be seen", delay, jitter)
	}
	return &harm{
		toxic: "latency", attributes: map[string]int64{"latency": delay.Milliseconds(), "jitter": jitter.Milliseconds()}, way: way,
		what: fmt.Sprintf("no byte that took %v", least),
		look: func(since time.Time) func(event) string {
			return func(e event) string {
				if e.in || !way.has(e.way) || !e.sent.After(since) || e.held < least.Truncate(time.Millisecond) {
					return ""
				}
				return fmt.Sprintf("a byte took %v", e.held.Round(time.Millisecond))
			}
		},
	}, nil
}

func reset(o faults.Options) (*harm, error) {
	after, err := o.Duration(optionReset, 0)
	if err != nil {
		return nil, err
	}
	return &harm{
		toxic: "reset_peer", attributes: map[string]int64{"timeout": after.Milliseconds()}, way: Out,
		what: "no connection that was reset",
		look: func(time.Time) func(event) string {
			return func(e event) string {
				if e.reset {
					return "a client's connection was reset"
				}
				return ""
			}
		},
	}, nil
}

func cut(o faults.Options) (*harm, error) {
	way, err := wayOf(o, optionCut, Both)
	if err != nil {
		return nil, err
	}
	return &harm{
		toxic: "timeout", attributes: map[string]int64{"timeout": 0}, way: way,
		what: fmt.Sprintf("no byte that was held for %v", silence),
		look: func(time.Time) func(event) string {
			waiting := make(map[*line]time.Time) // since when what entered is missed
			return func(e event) string {
				switch {
				case e.ended:
					delete(waiting, e.line)
				case !way.has(e.way):
				case !e.in:
					delete(waiting, e.line)
				case waiting[e.line].IsZero():
					waiting[e.line] = time.Now()
				}
				for l, since := range waiting {
					in, out := l.passed(Out)
					back, forth := l.passed(In)
					if held := time.Since(since); held >= silence {
						return fmt.Sprintf("%d bytes of a connection had not come out after %v", in-out+back-forth, held.Round(time.Millisecond))
					}
				}
				return ""
			}
		},
	}, nil
}

func slowClose(o faults.Options) (*harm, error) {
	delay, err := o.Duration(optionSlowClose, 0)
	if err != nil {
		return nil, err
	}
	if delay < time.Millisecond {
		return nil, fmt.Errorf("option slow-close is %v; want at least 1ms", delay)
	}
	return &harm{
		toxic: "slow_close", attributes: map[string]int64{"delay": delay.Milliseconds()}, way: Out,
		what: fmt.Sprintf("no connection that took %v to close", delay),
		look: func(time.Time) func(event) string {
			return func(e event) string {
				if e.late < delay.Truncate(time.Millisecond) {
					return ""
				}
				return fmt.Sprintf("a connection took %v to close", e.late.Round(time.Millisecond))
			}
		},
	}, nil
}

func limit(o faults.Options) (*harm, error) {
	most, err := o.Int(optionLimit, 0)
	way, wayErr := wayOf(o, optionWay, In)
	if err := errors.Join(err, wayErr); err != nil {
		return nil, err
	}
	if most < 1 {
		return nil, fmt.Errorf("option limit is %d; want at least 1", most)
	}
	return &harm{
		toxic: "limit_data", attributes: map[string]int64{"bytes": most}, way: way,
		what: fmt.Sprintf("no connection that was closed after %d bytes", most),
		look: func(time.Time) func(event) string {
			entered, left := make(map[*line]int64), make(map[*line]int64)
			return func(e event) string {
				switch {
				case e.way != "" && way.has(e.way) && e.in:
					entered[e.line] += e.n
				case e.way != "" && way.has(e.way):
					left[e.line] += e.n
				case e.ended && entered[e.line] > most && left[e.line] <= most:
					return fmt.Sprintf("a connection was closed after %d of %d bytes", left[e.line], entered[e.line])
				}
				return ""
			}
		},
	}, nil
}
