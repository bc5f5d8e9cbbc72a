package process

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/poolproof/poolproof/pool"
)

const (
	// noticeCount and noticeBytes bound the notifications of a worker that wait for the
	// logger or for Config.OnNotification.
	noticeCount = 256
	noticeBytes = 1 << 20
)

// notices are notifications on their way to those who want to know. Whoever takes them may
// be slow, so they wait in a bounded queue for a goroutine that lives while it has any.
type notices struct {
	mu      sync.Mutex
	queue   []notice // guarded by mu
	bytes   int      // guarded by mu: of the queue's params
	dropped int      // guarded by mu: since the goroutine last looked
	running bool     // guarded by mu
}

type notice struct {
	method string
	params json.RawMessage
}

// notify queues a notification, of which it keeps nothing else. If there are too many it
// is dropped, and counted. It does not block. Only the reader may call it.
func (c *conn) notify(method string, params []byte) {
	q := &c.notices
	q.mu.Lock()
	defer q.mu.Unlock()
	size := len(method) + len(params)
	if len(q.queue) == noticeCount || len(q.queue) > 0 && q.bytes+size > noticeBytes {
		q.dropped++
		return
	}
	q.queue = append(q.queue, notice{method, append(json.RawMessage(nil), params...)})
	q.bytes += size
	if !q.running {
		q.running = true
		c.others.Go(c.handOver)
	}
}

// handOver hands queued notifications over until there are none.
func (c *conn) handOver() {
	q := &c.notices
	for {
		q.mu.Lock()
		queue, dropped := q.queue, q.dropped
		q.queue, q.bytes, q.dropped = nil, 0, 0
		q.running = len(queue) > 0
		q.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, n := range queue {
			c.setup.notified(n.method, n.params)
		}
		if dropped > 0 {
			c.setup.dropped(dropped)
		}
	}
}

// logNotification is what a worker says in a log notification.
type logNotification struct {
	Level      string         `json:"level"`
	Message    string         `json:"message"`
	Logger     string         `json:"logger"`
	Attributes map[string]any `json:"attributes"`
}

// hearing hands a worker's notifications to those whom its Config names.
type hearing struct {
	id  pool.WorkerID
	cfg *Config
}

// notified takes one notification.
func (h hearing) notified(method string, params json.RawMessage) {
	if method != "log" {
		if h.cfg.OnNotification != nil {
			contain(h.cfg.Logger, "OnNotification", h.id, func() { h.cfg.OnNotification(h.id, method, params) })
		}
		return
	}
	var said logNotification
	if err := json.Unmarshal(params, &said); err != nil {
		h.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "malformed log notification",
			slog.Uint64("worker", uint64(h.id)), slog.Any("error", err))
		return
	}
	attrs := make([]slog.Attr, 0, 2+len(said.Attributes))
	attrs = append(attrs, slog.Uint64("worker", uint64(h.id)))
	if said.Logger != "" {
		attrs = append(attrs, slog.String("logger", said.Logger))
	}
	var own []any
	for _, name := range slices.Sorted(maps.Keys(said.Attributes)) {
		own = append(own, slog.Any(name, said.Attributes[name]))
	}
	if len(own) > 0 {
		attrs = append(attrs, slog.Group("attributes", own...))
	}
	h.cfg.Logger.LogAttrs(context.Background(), logLevel(said.Level), said.Message, attrs...)
}

// dropped takes the news that so many notifications were dropped.
func (h hearing) dropped(count int) {
	h.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "worker sends notifications faster than they are taken",
		slog.Uint64("worker", uint64(h.id)), slog.Int("dropped", count))
}

// logLevel returns the level that the protocol's word stands for.
func logLevel(word string) slog.Level {
	switch word {
	case "debug":
		return slog.LevelDebug
	case "warning":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
