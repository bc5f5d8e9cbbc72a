package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/poolproof/poolproof/pool"
)

// ProtocolVersion is the version of docs/protocol.md that this package speaks.
const ProtocolVersion = 1

// The methods that the protocol itself defines. Every worker answers MethodHello and
// MethodPing; one that wants to know when a session is over announces
// MethodSessionEnded among its methods.
const (
	MethodHello        = "hello"
	MethodPing         = "ping"
	MethodSessionEnded = "session_ended"
)

// ChannelVariable is the environment variable that tells a worker which descriptors it
// reads requests from and writes replies to, as in "3,4".
const ChannelVariable = "POOLPROOF_CHANNEL"

// The codes of error replies; those above -32100 and below -32000 are this protocol's
// own, the others JSON-RPC's.
const (
	CodeInvalidRequest = -32600
	CodeUnknownMethod  = -32601
	CodeInvalidParams  = -32602
	CodeInternal       = -32603 // the result cannot be encoded
	CodeFailed         = -32000 // the method raised an exception, panicked or returned an error
	CodeTooLarge       = -32001 // the result exceeds the frame limit
	CodeNoHello        = -32002 // a call came before hello
	CodeCancelled      = -32003 // the call was cancelled
)

// Feature is a part of the protocol that a worker may have.
type Feature string

// The features that exist.
const (
	FeatureBinary       Feature = "binary"        // payloads
	FeatureBatch        Feature = "batch"         // Worker.Batch
	FeatureStream       Feature = "stream"        // Worker.Stream
	FeatureSharedMemory Feature = "shared_memory" // payloads in shared memory
)

// HelloParams is what the host says in its hello.
type HelloParams struct {
	Protocol   int `json:"protocol"`
	FrameLimit int `json:"frame_limit"` // bytes of a body, in both directions
	// SharedMemory offers memory for payloads. Nil: there is none.
	SharedMemory *SharedMemoryOffer `json:"shared_memory,omitempty"`
}

// SharedMemoryOffer says where a worker finds the memory that it may share.
type SharedMemoryOffer struct {
	Descriptor int `json:"descriptor"`
	Bytes      int `json:"bytes"`
}

// Hello is a worker's answer to hello.
type Hello struct {
	Protocol int      `json:"protocol"`
	PID      int      `json:"pid"`      // of the process that serves the channel
	Instance string   `json:"instance"` // a random token of this incarnation, never empty
	Methods  []string `json:"methods"`  // besides hello and ping

	Features    []Feature `json:"features,omitempty"`
	Cancellable []string  `json:"cancellable,omitempty"` // methods
}

// Pong is a worker's answer to ping.
type Pong struct {
	Instance string `json:"instance"` // as in Hello
}

// SessionEndedParams are the params of session_ended.
type SessionEndedParams struct {
	Session string `json:"session"`
}

var (
	// ErrBroken is wrapped by every error after which the worker cannot be used again:
	// a call was cancelled or timed out, the protocol was violated, the worker went
	// away, or it was stopped. The cause is wrapped beside it. Retrying on another
	// worker may help.
	ErrBroken = errors.New("process: worker unusable")

	// ErrProtocol reports that the worker broke the rules of the channel, such as by
	// answering with a wrong id. It comes together with ErrBroken, or from Start.
	ErrProtocol = errors.New("process: protocol violated")

	// ErrStopped is the cause given to calls on a worker that Stop was called on. It
	// comes together with ErrBroken.
	ErrStopped = errors.New("process: worker stopped")
)

// BrokenError says which worker cannot be used again, and why. It wraps ErrBroken beside
// the cause.
type BrokenError struct {
	Worker pool.WorkerID
	Cause  error
}

// Error gives the worker and the cause.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("process: worker %d unusable: %v", e.Worker, e.Cause)
}

// Unwrap returns ErrBroken and the cause.
func (e *BrokenError) Unwrap() []error { return []error{ErrBroken, e.Cause} }

// FeatureError reports that a call needs a feature which the worker has not announced.
// Nothing was sent and the worker is unharmed. Retrying cannot help.
type FeatureError struct {
	Worker  pool.WorkerID
	Feature Feature
}

// Error gives the worker and the feature.
func (e *FeatureError) Error() string {
	return fmt.Sprintf("process: worker %d has no feature %q", e.Worker, string(e.Feature))
}

// VersionError reports that a worker speaks another version of the protocol. Retrying
// cannot help.
type VersionError struct {
	Got, Want int
}

// Error gives both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("process: worker speaks protocol version %d, want %d", e.Got, e.Want)
}

// RemoteError is an error reply. The worker stays usable. A method of a Go worker may
// return one to choose code, message and data.
type RemoteError struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`

	Worker pool.WorkerID `json:"-"` // who answered; set on the host
}

// Error gives the message, the code and, on the host, the worker.
func (e *RemoteError) Error() string {
	if e.Worker != 0 {
		return fmt.Sprintf("process: worker %d answered with error %d: %s", e.Worker, e.Code, e.Message)
	}
	return fmt.Sprintf("process: worker answered with error %d: %s", e.Code, e.Message)
}

// Traceback returns where in the worker the error arose, or "" if it did not say.
func (e *RemoteError) Traceback() string {
	var data struct {
		Traceback string `json:"traceback"`
	}
	if json.Unmarshal(e.Data, &data) != nil {
		return ""
	}
	return data.Traceback
}

// check reports what is wrong with a worker's answer to hello.
func (h *Hello) check() error {
	switch {
	case h.Protocol != ProtocolVersion:
		return &VersionError{Got: h.Protocol, Want: ProtocolVersion}
	case h.Instance == "":
		return fmt.Errorf("%w: hello without an instance token", ErrProtocol)
	case h.PID <= 0:
		return fmt.Errorf("%w: hello with pid %d", ErrProtocol, h.PID)
	}
	return nil
}

// peer is what a worker has announced that it can do.
type peer struct {
	binary, batch, stream bool
	memory                *sharedMemory // nil: not used
	cancellable           map[string]bool
}

// peer returns what h announces; memory is what the host offered.
func (h *Hello) peer(memory *sharedMemory) peer {
	p := peer{
		binary:      slices.Contains(h.Features, FeatureBinary),
		batch:       slices.Contains(h.Features, FeatureBatch),
		stream:      slices.Contains(h.Features, FeatureStream),
		cancellable: make(map[string]bool, len(h.Cancellable)),
	}
	if p.binary && slices.Contains(h.Features, FeatureSharedMemory) {
		p.memory = memory
	}
	for _, name := range h.Cancellable {
		p.cancellable[name] = true
	}
	return p
}
