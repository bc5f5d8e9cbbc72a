package otelpool_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/poolproof/poolproof/otelpool"
	"github.com/poolproof/poolproof/pool"
)

func Example() {
	reader := metric.NewManualReader() // or an exporter's, or otel's global provider
	tel, err := otelpool.New(otelpool.Config{Name: "spellers", MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		fmt.Println(err)
		return
	}
	made, err := pool.New(pool.Config[string]{
		Start:    func(context.Context, pool.WorkerID) (string, error) { return "speller", nil },
		Observer: tel.Observer(nil),
		MaxSize:  1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := otelpool.Wrap(tel, made)
	if err != nil {
		made.Close()
		fmt.Println(err)
		return
	}
	defer p.Close()
	for range 3 {
		if err := p.Do(context.Background(), "", func(context.Context, string) error { return nil }); err != nil {
			fmt.Println(err)
		}
	}

	var got metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &got); err != nil {
		fmt.Println(err)
	}
	for _, m := range got.ScopeMetrics[0].Metrics {
		if h, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == "poolproof.acquire.wait_time" {
			fmt.Println(m.Name, h.DataPoints[0].Count)
		}
	}
	// Output:
	// poolproof.acquire.wait_time 3
}
