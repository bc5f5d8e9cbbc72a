package otelpool

// Telemetry returns what the pool was wrapped with.
func (p *Pool[T]) Telemetry() *Telemetry { return p.t }

// Kept returns how many events wait for others.
func (t *Telemetry) Kept() int {
	n := 0
	t.locked(func(l *log) {
		n = len(l.starts)
		for _, w := range l.leases {
			n += len(w.times)
		}
	})
	return n
}
