// Package peers holds adapters of other people's pools, one small package each, in the
// folder of the peer's name. Each has a function Targets, which returns what package props
// verifies.
package peers

import "embed"

// Peer is a pool that can be verified.
type Peer struct {
	Name    string // of its package here
	Module  string // empty: the standard library
	Version string // the newest release that its adapter was written for; empty: that of Go

	// Instrument lists what to put under the scheduler's control.
	Instrument []string
}

// List returns all peers.
func List() []Peer {
	return []Peer{
		{"ants", "github.com/panjf2000/ants/v2", "v2.12.1", []string{"github.com/panjf2000/ants/v2/..."}},
		{"commons1", "github.com/jolestar/go-commons-pool", "v2.0.0+incompatible", []string{"github.com/jolestar/go-commons-pool/..."}},
		{"commons2", "github.com/jolestar/go-commons-pool/v2", "v2.1.2", []string{"github.com/jolestar/go-commons-pool/v2/..."}},
		{"pond", "github.com/alitto/pond/v2", "v2.7.1", []string{"github.com/alitto/pond/v2/..."}},
		{"puddle1", "github.com/jackc/puddle", "v1.3.0", []string{"github.com/jackc/puddle/..."}},
		{"puddle2", "github.com/jackc/puddle/v2", "v2.2.3", []string{"github.com/jackc/puddle/v2/...", "golang.org/x/sync/semaphore"}},
		{"redigo", "github.com/gomodule/redigo", "v1.9.3", []string{"github.com/gomodule/redigo/redis"}},
		{"semaphore", "golang.org/x/sync", "v0.25.0", []string{"golang.org/x/sync/semaphore"}},
		{"sql", "", "", []string{"database/sql"}},
	}
}

// Sources holds the adapters' files, to be built with whatever version of a peer is asked for.
//
//go:embed */*.go
var Sources embed.FS
