package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/poolproof/poolproof/pool/process"
)

// proofOption, as "proof=limit", has a fault of a limit count once the limit is in force,
// for programs that have no method that would run into it.
const proofOption = "proof"

// failure is what the demos' exhaust and write_file return.
type failure struct {
	Done  int    `json:"done"`
	Error string `json:"error"`
}

// limitation is a soft limit of a process that was lowered.
type limitation struct {
	p        *process.Worker
	resource int
	before   unix.Rlimit
}

// lower lowers a soft limit of a process to what most returns, which is asked while the
// number is the process's. It fails if the limit was lower before.
func lower(p *process.Worker, resource int, most func(pid int) (uint64, error)) (*limitation, error) {
	l := &limitation{p: p, resource: resource}
	return l, p.Hold(func(pid int) error {
		limit, err := most(pid)
		if err != nil {
			return err
		}
		if err := unix.Prlimit(pid, resource, nil, &l.before); err != nil {
			return err
		}
		if limit >= l.before.Cur {
			return fmt.Errorf("the limit is %d already, not above %d", l.before.Cur, limit)
		}
		return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: limit, Max: l.before.Max}, nil)
	})
}

// inForce returns the soft limit that the kernel has for the process.
func (l *limitation) inForce() (now uint64, err error) {
	err = l.p.Hold(func(pid int) error {
		var limit unix.Rlimit
		err := unix.Prlimit(pid, l.resource, nil, &limit)
		now = limit.Cur
		return err
	})
	return now, finalIfGone(err)
}

// proveLimit is the proof for proof=limit.
func (l *limitation) proveLimit(context.Context) (string, error) {
	now, err := l.inForce()
	if err == nil && now >= l.before.Cur {
		err = fmt.Errorf("the limit is %d", now)
	}
	return fmt.Sprintf("the limit is %d, it was %d; whether anything ran into it was not seen", now, l.before.Cur), err
}

// lift sets the limit back.
func (l *limitation) lift(context.Context) error {
	err := l.p.Hold(func(pid int) error {
		var now unix.Rlimit
		if err := unix.Prlimit(pid, l.resource, &l.before, nil); err != nil {
			return err
		}
		if err := unix.Prlimit(pid, l.resource, nil, &now); err != nil || now == l.before {
			return err
		}
		return fmt.Errorf("the limit is %d, not %d as before", now.Cur, l.before.Cur)
	})
	return unlessGone(err)
}

// hog has the worker fill bytes= (64 MiB) of memory, by its method hog, within the next
// lease. Seen: its resident set has grown by nine tenths of that at least, by /proc; or the
// worker refused for want of memory, or died of that. It is healed by replacing the worker.
func hog(v *Victim, p *process.Worker) (*Injury, error) {
	bytes, err := v.Options.Int("bytes", 64<<20)
	if err != nil {
		return nil, err
	}
	if bytes <= 0 {
		return nil, fmt.Errorf("option bytes is %d; it must be more than 0", bytes)
	}
	if err := needs(p, "hog"); err != nil {
		return nil, err
	}
	var before, after int64
	e := v.send(func(ctx context.Context, w Worker) error {
		if err := p.Hold(func(pid int) (err error) { _, before, err = memoryOf(pid); return err }); err != nil {
			return err
		}
		if err := w.Call(ctx, "hog", map[string]int64{"bytes": bytes}, nil); err != nil {
			return err
		}
		return p.Hold(func(pid int) (err error) { _, after, err = memoryOf(pid); return err })
	})
	return &Injury{
		Landed: func(ctx context.Context) (string, error) {
			if err := e.await(ctx, p); err != nil {
				return wantOfMemory(ctx, p, err)
			}
			if after-before < bytes/10*9 {
				return "", fmt.Errorf("%d bytes are resident, %d before; want %d more", after, before, bytes)
			}
			return fmt.Sprintf("the resident set grew by %d bytes to %d", after-before, after), nil
		},
		Heal: func(ctx context.Context) error {
			if e.begun.CompareAndSwap(errandWaits, errandDropped) || e.begun.Load() == errandDropped {
				return nil
			}
			return v.replace(ctx, p)
		},
	}, nil
}

// wantOfMemory says how an error shows that there was no more memory.
func wantOfMemory(ctx context.Context, p *process.Worker, err error) (string, error) {
	tells := func(text string) bool {
		text = strings.ToLower(text)
		return strings.Contains(text, "memoryerror") || strings.Contains(text, "out of memory") ||
			strings.Contains(text, "cannot allocate memory")
	}
	var remote *process.RemoteError
	if errors.As(err, &remote) && tells(remote.Message+remote.Traceback()) {
		return "the worker was refused memory: " + remote.Message, nil
	}
	if errors.Is(err, process.ErrBroken) {
		select {
		case <-p.Done():
			if exit := p.Exit(); exit.Kind == process.ExitOutOfMemory || tells(exit.Output) || goGaveUp(exit) {
				return fmt.Sprintf("the worker died of the memory that it was to take: %v", exit), nil
			}
		case <-ctx.Done():
		}
	}
	return "", err
}

// squeeze lowers the address space of a process to what it has mapped. Seen: by its method
// hog it is refused bytes= (1 GiB), or dies of them; a program without hog must have died
// for want of memory, unless proof=limit.
func squeeze(v *Victim, p *process.Worker) (*Injury, error) {
	bytes, err := v.Options.Int("bytes", 1<<30)
	if err != nil {
		return nil, err
	}
	l, err := lower(p, unix.RLIMIT_AS, func(pid int) (uint64, error) {
		mapped, _, err := memoryOf(pid)
		return uint64(mapped), err
	})
	if err != nil {
		return nil, err
	}
	injury := &Injury{Heal: l.lift}
	switch {
	case v.Options[proofOption] == "limit":
		injury.Landed = l.proveLimit
	case speaks(p, "hog"):
		e := v.send(func(ctx context.Context, w Worker) error {
			return w.Call(ctx, "hog", map[string]int64{"bytes": bytes}, nil)
		})
		injury.Landed = func(ctx context.Context) (string, error) {
			if err := e.await(ctx, p); err != nil {
				return wantOfMemory(ctx, p, err)
			}
			return "", fmt.Errorf("the worker got %d bytes in spite of the limit", bytes)
		}
	default:
		injury.Landed = func(ctx context.Context) (string, error) {
			select {
			case <-p.Done():
				return wantOfMemory(ctx, p, fmt.Errorf("%w: %w", process.ErrBroken, p.Exit()))
			case <-ctx.Done():
				return "", errors.New("the limit is set, but nothing was seen to run into it; proof=limit is content with that")
			}
		}
	}
	return injury, nil
}

// memoryOf returns how much a process has mapped and resident, in bytes.
func memoryOf(pid int) (mapped, resident int64, err error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err == nil {
		_, err = fmt.Sscan(string(statm), &mapped, &resident)
	}
	page := int64(os.Getpagesize())
	return mapped * page, resident * page, err
}

// descriptors lowers a process's limit of descriptors to the lowest number that is free; or,
// with spare=, to so many more, which the worker then opens, by its method exhaust, within
// the next lease. Seen: all numbers below the limit are in use, by /proc, so that the kernel
// refuses another.
func descriptors(v *Victim, p *process.Worker) (*Injury, error) {
	spare, err := v.Options.Int("spare", 0)
	if err != nil {
		return nil, err
	}
	if spare > 0 {
		if err := needs(p, "exhaust"); err != nil {
			return nil, err
		}
	}
	l, err := lower(p, unix.RLIMIT_NOFILE, func(pid int) (uint64, error) {
		free, err := lowestFree(pid)
		return uint64(free + int(spare)), err
	})
	if err != nil {
		return nil, err
	}
	var refused failure
	var e *errand
	if spare > 0 {
		e = v.send(func(ctx context.Context, w Worker) error {
			return w.Call(ctx, "exhaust", map[string]int64{"most": 2 * spare}, &refused)
		})
	}
	return &Injury{Heal: l.lift, Landed: func(ctx context.Context) (string, error) {
		told := ""
		if e != nil {
			if err := e.await(ctx, p); err != nil {
				return "", err
			}
			if refused.Error != "EMFILE" {
				return "", fmt.Errorf("the worker says %+v, want EMFILE", refused)
			}
			told = fmt.Sprintf("; the worker opened %d and was refused more", refused.Done)
		}
		return until(ctx, func() (string, error) {
			limit, err := l.inForce()
			free := 0
			if err == nil {
				err = finalIfGone(p.Hold(func(pid int) (err error) { free, err = lowestFree(pid); return err }))
			}
			if err == nil && uint64(free) < limit {
				err = fmt.Errorf("descriptor %d is free, below the limit of %d", free, limit)
			}
			return fmt.Sprintf("all descriptors below the limit of %d are in use%s", limit, told), err
		})
	}}, nil
}

// lowestFree returns the lowest descriptor that a process has free.
func lowestFree(pid int) (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0, err
	}
	used := make(map[string]bool)
	for _, entry := range entries {
		used[entry.Name()] = true
	}
	free := 0
	for used[strconv.Itoa(free)] {
		free++
	}
	return free, nil
}

// fillDisk has whatever the process writes to files meet a limit of bytes= (0), as a full
// disk would be: it is refused with EFBIG, or the process dies by SIGXFSZ unless it ignores
// that, as Python does. Seen: the worker's method write_file says so, within the next lease,
// or the worker died of it; without that method only the latter counts, unless proof=limit.
func fillDisk(v *Victim, p *process.Worker) (*Injury, error) {
	bytes, err := v.Options.Int("bytes", 0)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "poolproof-disk-")
	if err != nil {
		return nil, err
	}
	l, err := lower(p, unix.RLIMIT_FSIZE, func(int) (uint64, error) { return uint64(bytes), nil })
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	injury := &Injury{Heal: func(ctx context.Context) error { return errors.Join(l.lift(ctx), os.RemoveAll(folder)) }}
	switch {
	case v.Options[proofOption] == "limit":
		injury.Landed = l.proveLimit
	case speaks(p, "write_file"):
		var refused failure
		e := v.send(func(ctx context.Context, w Worker) error {
			params := map[string]any{"path": filepath.Join(folder, "file"), "bytes": bytes + 1}
			return w.Call(ctx, "write_file", params, &refused)
		})
		injury.Landed = func(ctx context.Context) (string, error) {
			if err := e.await(ctx, p); err != nil {
				return diskDeath(ctx, p, err)
			}
			if refused.Error != "EFBIG" && refused.Error != "ENOSPC" {
				return "", fmt.Errorf("the worker says %+v, want EFBIG or ENOSPC", refused)
			}
			return fmt.Sprintf("the worker wrote %d bytes and was refused more: %s", refused.Done, refused.Error), nil
		}
	default:
		injury.Landed = func(ctx context.Context) (string, error) {
			return diskDeath(ctx, p, process.ErrBroken)
		}
	}
	return injury, nil
}

// diskDeath waits for the death of a process that wrote too much.
func diskDeath(ctx context.Context, p *process.Worker, err error) (string, error) {
	if !errors.Is(err, process.ErrBroken) {
		return "", err
	}
	select {
	case <-p.Done():
		if exit := p.Exit(); diedBy(exit, syscall.SIGXFSZ) {
			return fmt.Sprintf("process %d died by SIGXFSZ", exit.PID), nil
		}
		return "", fmt.Errorf("it ended otherwise: %w", p.Exit())
	case <-ctx.Done():
		return "", errors.New("the limit is set, but nothing was seen to run into it; proof=limit is content with that")
	}
}
