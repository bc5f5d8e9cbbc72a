package worker

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/poolproof/poolproof/pool/process"
)

// Item is what the demo's put and get are about.
type Item struct {
	Session string          `json:"session"`
	Key     string          `json:"key"`
	Value   json.RawMessage `json:"value,omitempty"`
}

// Demo returns the methods of the demo worker, the same as those of python/demo.py:
//
//   - echo returns its params;
//   - pid returns the process's ID;
//   - put stores a value under a session and a key, and get returns it, or null;
//   - session_ended forgets a session;
//   - sleep returns after so many seconds;
//   - crash calls exit with a code, in the middle of the call. A nil exit is os.Exit;
//     where the worker shares a process with the host, exit must close the channel.
//
// The methods share state and serve one channel.
func Demo(exit func(code int)) map[string]Method {
	if exit == nil {
		exit = os.Exit
	}
	sessions := make(map[string]map[string]json.RawMessage)
	return map[string]Method{
		"echo": Func(func(_ context.Context, params json.RawMessage) (json.RawMessage, error) {
			return params, nil
		}),
		"pid": Func(func(context.Context, struct{}) (int, error) { return os.Getpid(), nil }),
		"put": Func(func(_ context.Context, item Item) (bool, error) {
			if sessions[item.Session] == nil {
				sessions[item.Session] = make(map[string]json.RawMessage)
			}
			sessions[item.Session][item.Key] = item.Value
			return true, nil
		}),
		"get": Func(func(_ context.Context, item Item) (json.RawMessage, error) {
			return sessions[item.Session][item.Key], nil
		}),
		process.MethodSessionEnded: Func(func(_ context.Context, p process.SessionEndedParams) (bool, error) {
			delete(sessions, p.Session)
			return true, nil
		}),
		"sleep": Func(func(ctx context.Context, p struct {
			Seconds float64 `json:"seconds"`
		},
		) (bool, error) {
			timer := time.NewTimer(time.Duration(p.Seconds * float64(time.Second)))
			defer timer.Stop()
			select {
			case <-timer.C:
				return true, nil
			case <-ctx.Done():
				return false, context.Cause(ctx)
			}
		}),
		"crash": Func(func(_ context.Context, p struct {
			Code int `json:"code"`
		},
		) (bool, error) {
			exit(p.Code)
			return true, nil
		}),
	}
}
