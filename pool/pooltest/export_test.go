package pooltest

import "github.com/poolproof/poolproof/pool"

// Tell makes the pool's watch believe that an event happened.
func (p *Pool[T]) Tell(e pool.Event) { p.watch.observe(e) }
