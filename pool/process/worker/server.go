package worker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/poolproof/poolproof/pool/process"
	"github.com/poolproof/poolproof/pool/process/internal/wire"
)

const (
	// keepBytes bounds the buffers that are kept between calls.
	keepBytes = 1 << 20
	// firstBytes is how much of a payload goes out in one write with its header: what a
	// pipe usually takes at once.
	firstBytes = 60 << 10
	// sharedThreshold is the size from which a payload goes through shared memory.
	sharedThreshold = process.DefaultSharedThreshold
)

// server is the state of one Serve.
type server struct {
	channel     io.ReadWriteCloser
	methods     map[string]Method
	cancellable []string
	instance    string
	reader      sync.WaitGroup
	calls       chan request // from the reader

	// The reader's.
	last    uint64 // the highest id so far
	payload []byte // of the request under way; the method's until it has been answered

	// The serving goroutine's.
	greeted bool
	memory  []byte // shared with the host; nil: not

	mu      sync.Mutex
	limit   int          // guarded by mu: of a frame's body
	out     bytes.Buffer // guarded by mu: a frame being made
	current *call        // guarded by mu: the call under way
}

// request is what came in one frame.
type request struct {
	all   []*call
	batch bool
}

func newServer(channel io.ReadWriteCloser, methods map[string]Method) *server {
	return &server{
		channel:  channel,
		methods:  methods,
		instance: rand.Text(),
		calls:    make(chan request, 1),
		limit:    process.DefaultFrameLimit,
	}
}

// read takes frames until the channel ends. It goes on while a method runs, to notice the
// host's end, what it cancels and what it lets a stream send.
func (s *server) read(ctx context.Context) error {
	frames := process.NewFrameReader(s.channel, process.DefaultFrameLimit)
	for {
		text, payload, err := frames.NextParts(s.place)
		if err != nil {
			return err
		}
		r, err := s.parse(text, payload)
		if err != nil {
			return err
		}
		if r.all == nil {
			continue
		}
		if hello := r.all[0].hello; hello != nil {
			frames.SetLimit(hello.FrameLimit)
		}
		for _, c := range r.all {
			s.begin(ctx, c)
		}
		select {
		case s.calls <- r:
		default: // reading must go on, so as to notice the host's end and the credits of a stream
			return errors.New("worker: a third request before the first was answered")
		}
	}
}

// place gives the memory for a large payload.
func (s *server) place(_ []byte, payloadBytes int) []byte {
	s.mu.Lock()
	busy := s.current != nil
	s.mu.Unlock()
	if busy {
		return nil // the method under way has that memory
	}
	if cap(s.payload) < payloadBytes {
		s.payload = make([]byte, payloadBytes)
	}
	return s.payload[:payloadBytes]
}

// parse takes a body apart, of which it keeps nothing. A notification gives no call.
func (s *server) parse(text, payload []byte) (request, error) {
	if wire.IsBatch(text) {
		messages, err := wire.Batch(text, process.MaxBatch, nil)
		if err == nil && payload != nil {
			err = errors.New("it has a payload")
		}
		if err != nil {
			return request{}, fmt.Errorf("worker: malformed batch: %w", err)
		}
		r := request{batch: true}
		for i := range messages {
			c, err := s.newCall(&messages[i], nil)
			if err != nil {
				return request{}, err
			}
			if c.hello != nil || messages[i].Stream != nil || messages[i].Shared != nil {
				c.refused = &process.RemoteError{Code: process.CodeInvalidRequest, Message: "not a request for a batch"}
				c.hello = nil
			}
			r.all = append(r.all, c)
		}
		return r, nil
	}
	var m wire.Message
	err := m.Parse(text)
	if errors.Is(err, wire.ErrNoText) {
		return request{}, fmt.Errorf("worker: malformed request: %w", err)
	}
	if err == nil && m.Method != nil && m.ID == 0 {
		return request{}, s.notified(&m)
	}
	c, callErr := s.newCall(&m, payload)
	if callErr != nil {
		return request{}, callErr
	}
	if err != nil {
		c.refused = &process.RemoteError{Code: process.CodeInvalidRequest, Message: "not a request of JSON-RPC 2.0: " + err.Error()}
		c.hello = nil
	}
	return request{all: []*call{c}}, nil
}

// newCall copies what a request says.
func (s *server) newCall(m *wire.Message, payload []byte) (*call, error) {
	if m.ID != 0 && m.ID <= s.last {
		return nil, fmt.Errorf("worker: a request has the id %d after %d", m.ID, s.last)
	}
	s.last = max(s.last, m.ID)
	c := &call{server: s, id: m.ID, method: string(m.Method), params: bytes.Clone(m.Params), shared: bytes.Clone(m.Shared)}
	if m.ID == 0 || m.Method == nil {
		c.refused = &process.RemoteError{Code: process.CodeInvalidRequest, Message: "not a request of JSON-RPC 2.0"}
	}
	if payload != nil {
		c.hasPayload = true
		if len(payload) == 0 || len(s.payload) == 0 || &payload[0] != &s.payload[0] {
			payload = append(s.payload[:0], payload...)
			s.payload = payload
		}
		c.payload = payload
		if cap(s.payload) > keepBytes {
			s.payload = nil
		}
	}
	if m.Stream != nil {
		var ask struct {
			Window int `json:"window"`
		}
		if err := json.Unmarshal(m.Stream, &ask); err != nil || ask.Window <= 0 {
			return nil, fmt.Errorf("worker: malformed stream request %.40q", m.Stream)
		}
		c.stream = newOutflow(ask.Window)
	}
	if c.method == process.MethodHello && c.refused == nil {
		c.hello = new(process.HelloParams)
		if err := json.Unmarshal(m.Params, c.hello); err != nil {
			return nil, fmt.Errorf("worker: malformed hello: %w", err)
		}
		if c.hello.FrameLimit <= 0 {
			return nil, fmt.Errorf("worker: hello with frame limit %d", c.hello.FrameLimit)
		}
	}
	return c, nil
}

// notified takes a notification of the host. One about a call that is not under way is
// stale.
func (s *server) notified(m *wire.Message) error {
	var note wire.Note
	switch string(m.Method) {
	case "cancel", "credit":
		if err := note.Parse(m.Params); err != nil {
			return fmt.Errorf("worker: malformed %s: %w", m.Method, err)
		}
	default:
		return nil
	}
	s.mu.Lock()
	c := s.current
	s.mu.Unlock()
	switch {
	case c == nil || c.id != note.ID:
	case string(m.Method) == "cancel" && c.cancel != nil:
		c.cancel(ErrCancelled)
	case string(m.Method) == "credit" && c.stream != nil:
		c.stream.grant(note.Chunks)
	}
	return nil
}

// hello answers the handshake.
func (s *server) hello(p *process.HelloParams) process.Hello {
	h := process.Hello{
		Protocol:    process.ProtocolVersion,
		PID:         os.Getpid(),
		Instance:    s.instance,
		Methods:     slices.Sorted(maps.Keys(s.methods)),
		Features:    []process.Feature{process.FeatureBinary, process.FeatureBatch, process.FeatureStream},
		Cancellable: s.cancellable,
	}
	if offer := p.SharedMemory; offer != nil && s.memory == nil {
		// Without the memory all payloads go over the channel, so why is no matter.
		if memory, err := claimMemory(offer.Descriptor, offer.Bytes); err == nil {
			s.memory = memory
			h.Features = append(h.Features, process.FeatureSharedMemory)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = p.FrameLimit
	s.greeted = true
	return h
}
