package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/poolproof/poolproof/internal/inventory"
)

// Limits bound what a run takes. It is sampled ten times a second; when a limit is passed the
// run is cut short, which heals what is harmed and ends every process, and has a finding.
// Plans that must pass one are refused before anything is started. Each zero means the
// default beside it.
type Limits struct {
	Processes int           // that descend from this one and are new since the run began; 256
	Memory    int64         // bytes: the resident sets of this process and of those; 8 GiB
	Time      time.Duration // of the run until it is closed; 1 h
	Disk      int64         // bytes that this process and those have written to disk, and bytes in RunConfig.Dir; 4 GiB
}

func (l Limits) withDefaults() Limits {
	if l.Processes == 0 {
		l.Processes = 256
	}
	if l.Memory == 0 {
		l.Memory = 8 << 30
	}
	if l.Time == 0 {
		l.Time = time.Hour
	}
	if l.Disk == 0 {
		l.Disk = 4 << 30
	}
	return l
}

// refusals says which limits a configuration must pass.
func (l *Limits) refusals(cfg *RunConfig) (all []error) {
	complain := func(bad bool, format string, args ...any) {
		if bad {
			all = append(all, fmt.Errorf("faults: Limits."+format, args...))
		}
	}
	complain(l.Processes < 0 || l.Memory < 0 || l.Time < 0 || l.Disk < 0, "a limit is negative: %+v", *l)
	if cfg.System.Layer == Process {
		complain(cfg.System.Pool.MaxSize > l.Processes, "Processes is %d; the pool has up to %d workers", l.Processes, cfg.System.Pool.MaxSize)
	}
	least := cfg.Before + cfg.Plan.Span() + cfg.After
	complain(least > l.Time, "Time is %v; the phases take at least %v", l.Time, least)
	for i, f := range cfg.Plan.Faults {
		bytes, err := f.Options.Int("bytes", 0)
		if err != nil {
			all = append(all, fmt.Errorf("faults: Plan.Faults[%d]: %w", i, err))
			continue
		}
		complain(bytes > l.Memory, "Memory is %d; Plan.Faults[%d] takes %d", l.Memory, i, bytes)
		complain(bytes > l.Disk, "Disk is %d; Plan.Faults[%d] takes %d", l.Disk, i, bytes)
	}
	return all
}

// Usage is the most that a run was seen to take of what Limits bounds.
type Usage struct {
	Processes int           `json:"processes"`
	Memory    int64         `json:"memory"`
	Time      time.Duration `json:"time"`
	Disk      int64         `json:"disk"`
}

// errLimit is why a run that passed a limit is cut short.
var errLimit = errors.New("faults: a limit was passed")

// over says which limit is passed, or nil.
func (l *Limits) over(u *Usage) error {
	switch {
	case u.Processes > l.Processes:
		return fmt.Errorf("%w: %d processes, want at most %d", errLimit, u.Processes, l.Processes)
	case u.Memory > l.Memory:
		return fmt.Errorf("%w: %d bytes of memory, want at most %d", errLimit, u.Memory, l.Memory)
	case u.Time > l.Time:
		return fmt.Errorf("%w: it takes more than %v", errLimit, l.Time)
	case u.Disk > l.Disk:
		return fmt.Errorf("%w: %d bytes were written to disk, want at most %d", errLimit, u.Disk, l.Disk)
	}
	return nil
}

// meter measures usage. It is for one goroutine.
type meter struct {
	layer   Layer
	dir     string
	known   map[incarnation]bool  // that were there before
	written map[incarnation]int64 // by process: the last that was seen
	before  int64                 // what this process had written
}

// incarnation is a process that is no other one of that number.
type incarnation struct {
	pid   int
	began uint64
}

func newMeter(layer Layer, dir string) *meter {
	m := &meter{layer: layer, dir: dir, known: make(map[incarnation]bool), written: make(map[incarnation]int64)}
	if layer == Process {
		for pid, p := range inventory.Descendants() {
			m.known[incarnation{pid, p.Began}] = true
		}
	}
	m.before = writtenBy(os.Getpid())
	return m
}

// measure returns what is used now, but for the time.
func (m *meter) measure() (u Usage) {
	self := os.Getpid()
	if p, err := inventory.Look(self); err == nil {
		u.Memory = p.Resident
	}
	if m.layer == Process {
		for pid, p := range inventory.Descendants() {
			who := incarnation{pid, p.Began}
			if m.known[who] {
				continue
			}
			u.Processes++
			u.Memory += p.Resident
			m.written[who] = max(m.written[who], writtenBy(pid))
		}
	}
	for _, n := range m.written {
		u.Disk += n
	}
	u.Disk += max(0, writtenBy(self)-m.before) + bytesIn(m.dir)
	return u
}

// writtenBy returns how many bytes a process has written to disk, as far as it can be seen.
func writtenBy(pid int) int64 {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "io"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// bytesIn returns how many bytes the files of a folder have.
func bytesIn(dir string) (n int64) {
	if dir == "" {
		return 0
	}
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // files come and go
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// watch samples the run until the function that it returns is called, and cuts it short when
// it passes a limit.
func (r *run) watch() (stop func()) {
	m := newMeter(r.sys.layer, r.cfg.Dir)
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			r.sample(m)
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// sample measures the run once.
func (r *run) sample(m *meter) {
	u := m.measure()
	u.Time = r.sys.now()
	used := &r.report.Used
	used.Processes, used.Memory = max(used.Processes, u.Processes), max(used.Memory, u.Memory)
	used.Time, used.Disk = max(used.Time, u.Time), max(used.Disk, u.Disk)
	if err := r.cfg.Limits.over(&u); err != nil {
		r.stop(err)
	}
	if r.cfg.Sampled != nil {
		r.cfg.Sampled(r.glimpse())
	}
}

// glimpse returns the state of the run.
func (r *run) glimpse() Glimpse {
	g := Glimpse{At: r.sys.now(), Ready: len(r.sys.workers())}
	r.loader.mu.Lock()
	g.Begun, g.Answered = r.loader.issued, r.loader.tally
	r.loader.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	g.Phase = r.current
	for _, f := range r.report.Faults {
		if f.Landed > 0 {
			g.Landed++
		}
	}
	return g
}

// endProcesses kills what is alive of the processes of the system and of their groups, which
// they led, once the pool is closed, and says what there was. Of a group whose leader is gone
// the number may be another's by now, so it looks at this process's session alone.
func (s *System) endProcesses() (ended []string) {
	s.mu.Lock()
	ours := slices.Clone(s.pids)
	s.mu.Unlock()
	all := inventory.Processes()
	session := all[os.Getpid()].Session
	for pid, p := range all {
		if !slices.Contains(ours, p.Group) || p.Session != session || p.State == 'Z' {
			continue
		}
		ended = append(ended, fmt.Sprintf("process %d (%s) of the group of worker process %d was alive, and is killed", pid, p.Name, p.Group))
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			ended = append(ended, fmt.Sprintf("process %d could not be killed: %v", pid, err))
		}
	}
	return ended
}
