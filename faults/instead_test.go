package faults

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// TestVictimsThatEndFirst: a fault whose victim is ended by something else before it lands
// hits another worker; one that lands nowhere is still a finding.
func TestVictimsThatEndFirst(t *testing.T) {
	for _, lands := range []bool{true, false} {
		var chosen []pool.WorkerID // by turns, as runs take them
		cfg := killing(t)
		cfg.Kit = Standard()
		cfg.Kit["slow-to-land"] = InjectorFunc(func(_ context.Context, v *Victim) (*Injury, error) {
			chosen = append(chosen, v.Worker)
			return &Injury{Landed: func(ctx context.Context) (string, error) {
				pause(ctx, 500*time.Millisecond)
				if v.System.worker(v.Worker) == nil || !lands {
					return "", errors.New("the worker has ended")
				}
				return "it lives", nil
			}}, nil
		})
		cfg.Kit["assassin"] = InjectorFunc(func(_ context.Context, v *Victim) (*Injury, error) {
			v.System.worker(chosen[0]).(*fake).kill(errKilled)
			return &Injury{Landed: func(context.Context) (string, error) { return "killed", nil }}, nil
		})
		cfg.Plan.Faults = []Planned{
			{Kind: "slow-to-land", When: When{From: 100 * time.Millisecond}},
			{Kind: "assassin", When: When{From: 200 * time.Millisecond}, Who: Who{Aim: AtPool}},
		}
		cfg.Plan.Faults[0].For = time.Second
		r := inBubble(t, cfg)
		at := slices.IndexFunc(r.Faults, func(f *FaultReport) bool { return f.Kind == "slow-to-land" })
		switch f := r.Faults[at]; {
		case len(chosen) < 2 || chosen[0] == chosen[1] || f.Worker != chosen[len(chosen)-1]:
			t.Errorf("lands %v: chosen were %v, reported is %d", lands, chosen, f.Worker)
		case lands && (f.Error != "" || f.Landed-f.At != 500*time.Millisecond):
			t.Errorf("it did not land on the second: %+v", *f)
		case !lands && (f.Error == "" || r.Passed()):
			t.Errorf("it landed nowhere, and that is no finding: %+v", *f)
		}
	}
}
