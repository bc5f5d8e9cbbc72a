package faults

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/poolproof/poolproof/pool"
)

// briefly is a run on real processes.
func briefly(t *testing.T, role string, f InjectorFunc) RunConfig {
	cfg := RunConfig{
		System: SystemConfig{
			Name: t.Name(), Layer: Process, Pool: pool.Config[Worker]{MinSize: 2, MaxSize: 2}, Workers: goWorkers(t, role),
		},
		Load:   Load{Rate: 100},
		Before: 300 * time.Millisecond, After: 300 * time.Millisecond, RecoverWithin: 5 * time.Second,
		Plan: Plan{Faults: []Planned{{Kind: "spare", When: When{From: 300 * time.Millisecond}, Who: Who{Aim: AtPool}}}},
	}
	cfg.Kit = Kit{"spare": f}
	return cfg
}

// done is an injury that did something at once.
func done() (*Injury, error) {
	return &Injury{Landed: func(context.Context) (string, error) { return "done", nil }}, nil
}

// breed starts one process more than there may be, until it is healed.
func breed(context.Context, *Victim) (*Injury, error) {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &Injury{
		Landed: func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "it was cut short", nil
		},
		Heal: func(context.Context) error {
			_ = c.Process.Kill()
			_ = c.Wait()
			return nil
		},
	}, nil
}

// scribble writes a file that is larger than it may be.
func scribble(_ context.Context, v *Victim) (*Injury, error) {
	return &Injury{Landed: func(ctx context.Context) (string, error) {
		if err := os.WriteFile(v.Options["file"], make([]byte, 2<<20), 0o600); err != nil {
			return "", err
		}
		<-ctx.Done()
		return "it was cut short", nil
	}}, nil
}

// TestLeft: what is left of a run on processes is found, and so is a worker that lies.
func TestLeft(t *testing.T) {
	var undo func()
	for _, c := range []struct {
		name, role, want string
		inject           InjectorFunc
		edit             func(cfg *RunConfig)
	}{
		{"nothing", "demo", "", func(context.Context, *Victim) (*Injury, error) { return done() }, nil},
		{"a descriptor", "demo", "left behind: descriptor", func(context.Context, *Victim) (*Injury, error) {
			f, err := os.Open(os.DevNull)
			undo = func() { f.Close() }
			if err != nil {
				return nil, err
			}
			return done()
		}, nil},
		{"a goroutine", "demo", "left behind: goroutines", func(context.Context, *Victim) (*Injury, error) {
			over := make(chan struct{})
			undo = func() { close(over) }
			go func() { <-over }()
			return done()
		}, nil},
		{"a process", "demo", "left behind: child process", func(context.Context, *Victim) (*Injury, error) {
			c := exec.Command("sleep", "60")
			if err := c.Start(); err != nil {
				return nil, err
			}
			undo = func() {
				_ = c.Process.Kill()
				_ = c.Wait()
			}
			return done()
		}, nil},
		{"too many processes", "demo", "processes, want at most 2", breed, func(cfg *RunConfig) { cfg.Limits.Processes = 2 }},
		{"too much on disk", "demo", "were written to disk, want at most 1048576", scribble, func(cfg *RunConfig) {
			cfg.Dir = t.TempDir()
			cfg.Limits.Disk = 1 << 20
			cfg.Plan.Faults[0].Options = Options{"file": cfg.Dir + "/large"}
		}},
		{"a wrong echo", "liar", "wrong answer: worker", func(context.Context, *Victim) (*Injury, error) { return done() }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			undo = func() {}
			cfg := briefly(t, c.role, c.inject)
			if c.edit != nil {
				c.edit(&cfg)
			}
			r, err := Run(t.Context(), cfg)
			undo()
			switch {
			case err != nil:
				t.Fatal(err)
			case c.want == "":
				expectPass(t, r)
			default:
				expectFinding(t, r, c.want)
			}
		})
	}
}
