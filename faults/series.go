package faults

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// latencyOf returns the latency of calls. It sorts them.
func latencyOf(all []time.Duration) Latency {
	slices.Sort(all)
	return Latency{
		P50: quantile(all, 0.5), P90: quantile(all, 0.9), P99: quantile(all, 0.99), P999: quantile(all, 0.999),
		Max: quantile(all, 1),
	}
}

// quantile returns the smallest of the sorted times that so large a share of them does not
// exceed.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(share * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// list says what there was, in words.
func (t *Tally) list() string {
	var words []string
	for i, n := range t {
		if n > 0 {
			words = append(words, fmt.Sprintf("%d %v", n, Result(i)))
		}
	}
	return strings.Join(words, ", ")
}

// step is the length of a Sample.
const step = 100 * time.Millisecond

// series returns the samples of a run from its opening to the answer of its last call.
func series(calls []Call, sys *System) []Sample {
	var last time.Duration
	for i := range calls {
		last = max(last, calls[i].End())
	}
	if len(calls) == 0 {
		return nil
	}
	samples := make([]Sample, int(last/step)+1)
	latencies := make([][]time.Duration, len(samples))
	for i := range calls {
		c := &calls[i]
		samples[int(c.Intended/step)].Begun++
		at := int(c.End() / step)
		samples[at].Answered[c.Result]++
		latencies[at] = append(latencies[at], c.Latency)
	}
	sys.mu.Lock()
	moves := slices.Clone(sys.moves)
	sys.mu.Unlock()
	for i := range samples {
		s := &samples[i]
		s.At = time.Duration(i) * step
		slices.Sort(latencies[i])
		s.P50, s.Max = quantile(latencies[i], 0.5), quantile(latencies[i], 1)
		s.Capacity = share(moves, sys.size, s.At, s.At+step)
	}
	return samples
}

// capacity returns the share of the workers that were ready and unharmed over a time.
func (s *System) capacity(from, to time.Duration) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return share(s.moves, s.size, from, to)
}

// share returns the mean of a count over a time, divided by size.
func share(moves []move, size int, from, to time.Duration) float64 {
	last, count := from, 0
	var area float64
	for _, m := range moves {
		if at := min(max(m.at, from), to); at > last {
			area += float64(count) * (at - last).Seconds()
			last = at
		}
		count = m.count
		if m.at >= to {
			break
		}
	}
	if to == from {
		return float64(count) / float64(size)
	}
	if last < to {
		area += float64(count) * (to - last).Seconds()
	}
	return area / (float64(size) * (to - from).Seconds())
}

// whole returns when, at a moment or first after it, all workers were ready and unharmed;
// 0: never.
func (s *System) whole(from time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, m := range s.moves {
		if m.at > from && count >= s.size {
			return from
		}
		if m.at > from && m.count >= s.size {
			return m.at
		}
		count = m.count
	}
	if count >= s.size {
		return from
	}
	return 0
}
