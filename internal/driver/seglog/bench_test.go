package seglog_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
	"github.com/causeway-iot/causeway/internal/obs"
)

// BenchmarkAppend measures durable appends: producers that each append a batch
// and wait. One iteration is one batch.
func BenchmarkAppend(b *testing.B) {
	for _, producers := range []int{1, 64, 200} {
		for _, batch := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("producers=%d/batch=%d", producers, batch), func(b *testing.B) {
				m := obs.NewLog(nil, "")
				l, err := seglog.Open(b.TempDir(), seglog.Options{Partitions: 4, RetentionBytes: 1 << 30, Metrics: m})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				b.SetBytes(int64(300 * batch))
				b.ReportAllocs()
				b.ResetTimer()
				start := time.Now()
				var wg sync.WaitGroup
				for w := range producers {
					n := b.N / producers
					if w < b.N%producers {
						n++
					}
					wg.Go(func() {
						recs := make([]eventlog.Record, batch)
						for i := range recs {
							recs[i].Payload = bytes.Repeat([]byte{byte(w)}, 300)
						}
						for range n {
							if _, err := l.Append(context.Background(), eventlog.Partition(w%4), recs...); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N*batch)/time.Since(start).Seconds(), "records/s")
				var out dto.Metric
				if err := m.CommitRecords.Write(&out); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(out.GetHistogram().GetSampleSum()/float64(out.GetHistogram().GetSampleCount()), "records/group")
			})
		}
	}
}

// fill appends n records of 300 bytes in batches of 100, to all partitions in
// turn.
func fill(b *testing.B, l *seglog.Log, n int) {
	b.Helper()
	recs := make([]eventlog.Record, 100)
	for i := range recs {
		recs[i].Payload = bytes.Repeat([]byte("x"), 300)
	}
	for i := range n / len(recs) {
		if _, err := l.Append(context.Background(), eventlog.Partition(i%l.Partitions()), recs...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadTail measures one reader of one partition over records that were
// just written, in calls of that many. One iteration is one record.
func BenchmarkReadTail(b *testing.B) {
	const total = 400_000
	for _, partitions := range []int{1, 4, 32} {
		l, err := seglog.Open(b.TempDir(), seglog.Options{Partitions: partitions})
		if err != nil {
			b.Fatal(err)
		}
		fill(b, l, total)
		_, next, err := l.Bounds(context.Background(), 0)
		if err != nil {
			b.Fatal(err)
		}
		for _, limit := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("partitions=%d/limit=%d", partitions, limit), func(b *testing.B) {
				b.SetBytes(300)
				b.ReportAllocs()
				b.ResetTimer()
				start := time.Now()
				for n, from := 0, eventlog.Offset(0); n < b.N; {
					if from == next {
						from = 0
					}
					recs, err := l.Read(context.Background(), 0, from, limit)
					if err != nil {
						b.Fatal(err)
					}
					from += eventlog.Offset(len(recs))
					n += len(recs)
				}
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "records/s")
			})
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFollow measures the way of a record from Append to a reader that
// waits for it.
func BenchmarkFollow(b *testing.B) {
	l, err := seglog.Open(b.TempDir(), seglog.Options{Partitions: 4})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	read := make(chan error)
	go func() {
		for from := eventlog.Offset(0); ; {
			recs, err := l.Read(context.Background(), 0, from, 100)
			from += eventlog.Offset(len(recs))
			read <- err
			if err != nil {
				return
			}
		}
	}()
	payload := bytes.Repeat([]byte("x"), 300)
	for b.Loop() {
		if _, err := l.Append(context.Background(), 0, eventlog.Record{Payload: payload}); err != nil {
			b.Fatal(err)
		}
		if err := <-read; err != nil {
			b.Fatal(err)
		}
	}
	l.Close()
	<-read
}

// BenchmarkOpen1GB measures the start with a log of 1 GB: after an orderly
// close, and after a kill, when the last segment is scanned.
func BenchmarkOpen1GB(b *testing.B) {
	for _, killed := range []bool{false, true} {
		b.Run(fmt.Sprintf("killed=%v", killed), func(b *testing.B) {
			if testing.Short() {
				b.Skip("writes 1 GB")
			}
			dir := b.TempDir()
			l, err := seglog.Open(dir, seglog.Options{Partitions: 4})
			if err != nil {
				b.Fatal(err)
			}
			fill(b, l, (1<<30+60<<20)/328) // the last segment is nearly full
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
			if killed {
				hurtFooter(b, dir)
			}
			for b.Loop() {
				if l, err = seglog.Open(dir, seglog.Options{Partitions: 4}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
				if killed {
					hurtFooter(b, dir)
				}
				b.StartTimer()
			}
		})
	}
}

// hurtFooter makes the last segment look as if the process had been killed.
func hurtFooter(b *testing.B, dir string) {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(names[len(names)-1], os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0}, info.Size()-1); err != nil {
		b.Fatal(err)
	}
}
