package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// gateScript is run by sh in place of a worker's program, which it executes in the same
// process, with the same descriptors and environment. Before that it meets the first fault
// in the folder that is for it: a file "ID.fault" says "MODE N ARG". A start that takes it
// leaves its process's number in "ID.K.taken"; N of them can, or all if N is 0.
const gateScript = `control=$1; shift
for fault in "$control"/*.fault; do
	read -r mode n arg 2>/dev/null <"$fault" || continue
	base=${fault%.fault} k=0 taken=
	if [ "$n" -eq 0 ]; then
		echo $$ >"$base.$$.taken" && taken=yes
	fi
	set -C
	while [ -z "$taken" ] && [ "$k" -lt "$n" ]; do
		k=$((k+1))
		if [ ! -e "$base.$k.taken" ] && { echo $$ >"$base.$k.taken"; } 2>/dev/null; then taken=yes; fi
	done
	set +C
	[ "$taken" ] || continue
	case $mode in
	start-exit) echo "gate: made to exit" >&2; exit 93 ;;
	start-hang) read -r line <"$base.pipe" ;;
	start-slow) command -p sleep "$arg" ;;
	start-flood)
		k=0
		while [ "$k" -lt "$arg" ]; do k=$((k+1)); echo "gate: flood, line $k"; done >&2
		exit 93 ;;
	esac
	break
done
exec "$@"
`

// gate is where the starts of processes meet faults.
type gate struct {
	control string // the folder, which is there while there are faults; empty: no gate

	mu    sync.Mutex
	count int // guarded by mu: of faults so far
	live  int // guarded by mu: faults that are not healed
}

// gated returns a configuration whose processes go through the gate. With Fork or Dial
// there is none. The error says why the program cannot be found.
func (g *gate) gated(cfg process.Config) (process.Config, error) {
	if len(cfg.Command) == 0 {
		return cfg, nil
	}
	path, err := exec.LookPath(cfg.Command[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return cfg, fmt.Errorf("faults: the program of the workers: %w", err)
	}
	g.control = filepath.Join(os.TempDir(), "poolproof-starts-"+rand.Text())
	command := []string{"sh", "-c", gateScript, "poolproof-gate", g.control, path}
	cfg.Command = append(command, cfg.Command[1:]...)
	return cfg, nil
}

// place puts a fault where starts will meet it, and returns its file without the ending.
func (g *gate) place(f *startFault, lines int64) (base string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := os.MkdirAll(g.control, 0o700); err != nil {
		return "", err
	}
	g.count++
	base = filepath.Join(g.control, fmt.Sprintf("%06d", g.count))
	if f.kind == startHang {
		err = makePipe(base + ".pipe")
	}
	n, arg := max(f.left, 0), strconv.FormatFloat(f.delay.Seconds(), 'f', -1, 64)
	if f.kind == startFlood {
		arg = strconv.FormatInt(lines, 10)
	}
	if err == nil {
		err = os.WriteFile(base+".new", fmt.Appendf(nil, "%s %d %s\n", f.kind, n, arg), 0o600)
	}
	if err == nil {
		err = os.Rename(base+".new", base+".fault")
	}
	g.live++
	if err != nil {
		err = errors.Join(err, g.removeLocked(base))
	}
	return base, err
}

// removeLocked removes a fault's files, and the folder with the last of them.
func (g *gate) removeLocked(base string) error {
	files, err := filepath.Glob(base + ".*")
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	if g.live--; g.live == 0 {
		err = errors.Join(err, os.RemoveAll(g.control))
	}
	return err
}

// taker is a process that has met a fault.
type taker struct {
	pid int
	at  time.Time
}

// takers returns who has met a fault.
func takers(base string) (all []taker, err error) {
	files, err := filepath.Glob(base + ".*.taken")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil { // else it is being written
			all = append(all, taker{pid, info.ModTime()})
		}
	}
	return all, nil
}

// injectAtGate has the next starts of processes meet a fault.
func (s *starts) injectAtGate(f *startFault, options Options) (*Injury, error) {
	lines, err := options.Int("lines", 1000)
	if err != nil {
		return nil, err
	}
	if s.gate.control == "" {
		return nil, errors.New("the workers are not started by a command, so there is no gate for them")
	}
	news := s.watch()
	base, err := s.gate.place(f, lines)
	if err != nil {
		s.unwatch(news)
		return nil, err
	}
	return &Injury{
		Landed: func(ctx context.Context) (string, error) {
			var heard []startNews
			return until(ctx, func() (string, error) {
				for len(news) > 0 {
					heard = append(heard, <-news)
				}
				all, err := takers(base)
				if err == nil && len(all) == 0 {
					err = errors.New("no start has met it")
				}
				for _, t := range all {
					evidence, proofErr := s.proofAtGate(f, t, heard, lines)
					if proofErr == nil {
						return evidence, nil
					}
					err = errors.Join(err, proofErr)
				}
				return "", err
			})
		},
		Heal: func(ctx context.Context) error {
			s.unwatch(news)
			return s.gate.heal(ctx, base)
		},
	}, nil
}

// proofAtGate says how what came of a start shows that it met f.
func (s *starts) proofAtGate(f *startFault, t taker, heard []startNews, lines int64) (string, error) {
	if f.kind == startHang {
		state, err := gateState(t.pid, s.gate.control)
		if err == nil && state != "S" {
			err = fmt.Errorf("process %d is in state %s at the gate", t.pid, state)
		}
		return fmt.Sprintf("process %d hangs at the gate, in state S", t.pid), err
	}
	for _, n := range heard {
		var exit *process.ExitError
		switch {
		case f.kind == startSlow:
			if took := n.at.Sub(t.at); n.pid == t.pid && took >= f.delay {
				return fmt.Sprintf("process %d said hello %v after it came to the gate", t.pid, took.Round(time.Millisecond)), nil
			}
		case !errors.As(n.err, &exit) || exit.PID != t.pid || exit.Code != exitCode:
		case f.kind == startFlood && !strings.HasSuffix(exit.Output, fmt.Sprintf("gate: flood, line %d\n", lines)):
			return "", fmt.Errorf("process %d exited with code %d, but its last output is %.100q", t.pid, exitCode, exit.Output)
		default:
			return fmt.Sprintf("the start of worker %d failed: %v", n.worker, exit), nil
		}
	}
	return "", fmt.Errorf("process %d met it, but nothing came of that yet", t.pid)
}

// heal removes a fault and returns when all that have met it have gone on, or are gone.
func (g *gate) heal(ctx context.Context, base string) error {
	if err := os.Remove(base + ".fault"); err != nil {
		return err
	}
	all, err := takers(base)
	if err != nil {
		return err
	}
	// Who opens the pipe from now on need not wait for that; who has it open reads a line.
	pipe, err := os.OpenFile(base+".pipe", os.O_RDWR, 0)
	if err == nil {
		defer pipe.Close()
		_, err = pipe.WriteString(strings.Repeat("\n", 4096))
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	g.mu.Lock()
	err = errors.Join(err, g.removeLocked(base))
	g.mu.Unlock()
	_, late := until(ctx, func() (string, error) {
		for _, t := range all {
			if state, err := gateState(t.pid, g.control); err == nil {
				return "", fmt.Errorf("process %d is still at the gate, in state %s", t.pid, state)
			}
		}
		return "", nil
	})
	return errors.Join(err, late)
}
