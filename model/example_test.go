package model_test

import (
	"fmt"

	"github.com/poolproof/poolproof/model"
)

// A session's second caller waits for the session's worker.
func ExampleStep() {
	cfg := &model.Config{MaxSize: 2, Clients: 2, Sessions: 1}
	at := model.Initial(cfg)
	for _, line := range []string{
		"acquire client=1 session=a", "start ok worker=1", "acquire client=2 session=a", "release client=1",
	} {
		op, err := model.ParseOp(line)
		if err != nil {
			fmt.Println(err)
			return
		}
		at = model.Step(cfg, &at.State, op)[0]
		fmt.Println(op, "->", at.Events.All())
	}
	fmt.Println(&at.State)
	// Output:
	// acquire client=1 session=a -> [worker 1 start begun]
	// start ok worker=1 -> [client 1 granted worker=1 fresh]
	// acquire client=2 session=a -> []
	// release client=1 -> [client 2 granted worker=1]
	// open size 0-2; worker 1 leased by client 2 for session a; session a bound to worker 1
}

// A pool that forgets its waiter is found out.
func ExampleFollow() {
	cfg := &model.Config{MaxSize: 1, Clients: 1}
	set := []model.State{model.Initial(cfg).State}
	set, err := model.Follow(cfg, set, model.Op{Kind: model.OpAcquire, Client: 1}, []model.Event{
		{Kind: model.EvStartBegun, Worker: 1},
	})
	fmt.Println(len(set), err == nil)
	_, err = model.Follow(cfg, set, model.Op{Kind: model.OpStarted, Worker: 1}, nil)
	fmt.Println(err)
	// Output:
	// 1 true
	// model: I5: start ok worker=1
	// ----
	// nothing
	// ---- possibility 1 of 1 would show
	// + client 1 granted worker=1   (not seen)
	// ---- before: open size 0-1; worker 1 starting; client 1 waits
}

func ExampleExplore() {
	cfg := &model.Config{MaxSize: 2, Clients: 3, Sessions: 2, SessionTTL: 1, Offer: model.OfferAll()}
	report, err := model.Explore(cfg, model.Bounds{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.States > 100, report.BoundHit, report.Counterexample)
	// Output:
	// true false <nil>
}

func ExampleCoverage() {
	cfg := &model.Config{MaxSize: 1, Clients: 1, Offer: model.Offer{Close: true}}
	coverage, err := model.NewCoverage(cfg, model.Bounds{})
	if err != nil {
		fmt.Println(err)
		return
	}
	at := model.Initial(cfg).State
	coverage.Add(&at, model.Op{Kind: model.OpAcquire, Client: 1})
	fmt.Println(coverage.Reached(), "of", coverage.Total())
	missing := coverage.Missing()[0]
	fmt.Println(missing)
	for _, step := range coverage.Path(missing)[1:] {
		fmt.Println(step.Op)
	}
	// Output:
	// 1 of 18
	// open <- close
	// close
}
