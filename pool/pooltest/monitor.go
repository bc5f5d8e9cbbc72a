package pooltest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/poolproof/poolproof/internal/inventory"
	"github.com/poolproof/poolproof/pool"
)

// Sample is the state of a pool and of the process at one moment.
type Sample struct {
	At          time.Duration // since the monitor began
	Stat        pool.Stat
	Goroutines  int
	Descriptors int
	Children    int // child processes, zombies included
	RSSBytes    int // resident set of this process; 0 if unknown
}

// Monitor takes samples periodically until it is stopped. Its methods may be called by
// any goroutine.
type Monitor struct {
	stat  func() pool.Stat
	begun time.Time
	stop  chan struct{}
	ended chan struct{}
	once  sync.Once

	mu      sync.Mutex
	samples []Sample
}

// NewMonitor begins to take a sample of stat and of the process: one now, one after
// each period, and one at Stop, which the caller owes.
func NewMonitor(period time.Duration, stat func() pool.Stat) *Monitor {
	m := &Monitor{stat: stat, begun: time.Now(), stop: make(chan struct{}), ended: make(chan struct{})}
	m.sample()
	go m.run(period)
	return m
}

func (m *Monitor) run(period time.Duration) {
	defer close(m.ended)
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.sample()
		case <-m.stop:
			m.sample()
			return
		}
	}
}

func (m *Monitor) sample() {
	s := Sample{
		At: time.Since(m.begun), Stat: m.stat(), Goroutines: runtime.NumGoroutine(),
		Descriptors: len(inventory.Descriptors()), Children: len(inventory.Children()), RSSBytes: residentBytes(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.samples = append(m.samples, s)
}

// Stop takes a last sample and returns when no more is taken. It may be called again.
func (m *Monitor) Stop() {
	m.once.Do(func() { close(m.stop) })
	<-m.ended
}

// Samples returns the samples so far, oldest first. The caller owns the result.
func (m *Monitor) Samples() []Sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.samples)
}

// Summary is what the samples of a monitor come to. Most of its parts are not from one
// sample: each figure of Peak is the highest of its own.
type Summary struct {
	Samples     int
	Length      time.Duration
	First, Last Sample
	Peak        Sample
}

// Summary returns the first and last sample and the peak of every figure so far.
func (m *Monitor) Summary() Summary {
	samples := m.Samples() // never empty
	last := samples[len(samples)-1]
	sum := Summary{Samples: len(samples), Length: last.At, First: samples[0], Last: last}
	for _, s := range samples {
		p := &sum.Peak
		p.Goroutines, p.Descriptors = max(p.Goroutines, s.Goroutines), max(p.Descriptors, s.Descriptors)
		p.Children, p.RSSBytes = max(p.Children, s.Children), max(p.RSSBytes, s.RSSBytes)
		p.Stat.Starting, p.Stat.Idle = max(p.Stat.Starting, s.Stat.Starting), max(p.Stat.Idle, s.Stat.Idle)
		p.Stat.Checking, p.Stat.Leased = max(p.Stat.Checking, s.Stat.Checking), max(p.Stat.Leased, s.Stat.Leased)
		p.Stat.Stopping, p.Stat.Waiting = max(p.Stat.Stopping, s.Stat.Stopping), max(p.Stat.Waiting, s.Stat.Waiting)
		p.Stat.Sessions = max(p.Stat.Sessions, s.Stat.Sessions)
	}
	return sum
}

// String returns a line for the pool and one for the process.
func (s Summary) String() string {
	return fmt.Sprintf("%d samples in %v; at most %d leased, %d waiting, %d starting, %d sessions\n"+
		"goroutines %d to %d, at most %d; descriptors %d to %d, at most %d; children %d to %d, at most %d; resident MiB %d to %d, at most %d",
		s.Samples, s.Length, s.Peak.Stat.Leased, s.Peak.Stat.Waiting, s.Peak.Stat.Starting, s.Peak.Stat.Sessions,
		s.First.Goroutines, s.Last.Goroutines, s.Peak.Goroutines, s.First.Descriptors, s.Last.Descriptors, s.Peak.Descriptors,
		s.First.Children, s.Last.Children, s.Peak.Children, s.First.RSSBytes>>20, s.Last.RSSBytes>>20, s.Peak.RSSBytes>>20)
}

// residentBytes returns the resident set of this process.
func residentBytes() int {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}
