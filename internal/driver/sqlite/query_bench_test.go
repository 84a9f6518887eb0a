package sqlite_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/presence"
	"github.com/causeway-iot/causeway/internal/cloud/query"
	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/driver/sqlite"
)

// Where BenchmarkQuery takes its twins from: how many there are (20,000), and a
// database that keeps them from one run to the next.
const (
	benchTwins    = "CAUSEWAY_BENCH_TWINS"
	benchDatabase = "CAUSEWAY_BENCH_DATABASE"
)

// benchRecord is a device of a fleet: of a kilobyte, as those of sensors are.
func benchRecord(i int) registry.Record {
	const meta = `{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":2}`
	return registry.Record{
		ID: causeway.Identity{Hub: "plant", Device: fmt.Sprintf("device-%07d", i)}, GenerationID: "638400000000000001", ETag: "NzY0MQ==",
		Enabled: i%50 != 0, StatusUpdated: time.Unix(1.7e9, 0), Created: time.Unix(1.7e9, 0), Edge: i%1000 == 0,
		Auth: registry.Authentication{Type: auth.SAS, Primary: causeway.Secret(fmt.Sprintf("v1:%064d", i)), Secondary: causeway.Secret(fmt.Sprintf("v1:%064d", i))},
		Twin: registry.Twin{
			Version: 3, ETag: 2, ModelID: "dtmi:com:example:Sensor;1",
			Tags: fmt.Appendf(nil, `{"site":"site-%d","floor":%d,"line":{"name":"line-%d"}}`, i%1000, i%10, i%7),
			Desired: registry.Section{
				Properties: fmt.Appendf(nil, `{"interval":%d,"mode":"auto"}`, i%60), Version: 2,
				Metadata: []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","$lastUpdatedVersion":2,"interval":` + meta + `,"mode":` + meta + `}`),
			},
			Reported: registry.Section{
				Properties: fmt.Appendf(nil, `{"battery":%d,"fw":"1.%d.0","connectivity":"%s","telemetry":{"rate":%d}}`, i%101, i%20, []string{"wifi", "wired", "lte"}[i%3], i%300), Version: 3,
				Metadata: []byte(`{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","battery":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"},"fw":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"},"connectivity":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"},"telemetry":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z","rate":{"$lastUpdated":"2024-01-01T00:00:00.0000000Z"}}}`),
			},
		},
	}
}

// fleet opens a database with n devices, which it makes unless they are there.
func fleet(b *testing.B, n int) *sqlite.DB {
	b.Helper()
	path := cmp.Or(os.Getenv(benchDatabase), filepath.Join(b.TempDir(), "fleet.db"))
	db := openAt(b, path, sqlite.Options{MaxIdentities: n + 1})
	s := db.Registry()
	have, err := s.Count(b.Context(), "plant")
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	const chunk = 500
	for from := have.Total; from < n; from += chunk {
		var recs []registry.Record
		for i := from; i < min(from+chunk, n); i++ {
			recs = append(recs, benchRecord(i))
		}
		if err := s.Create(b.Context(), recs...); err != nil {
			b.Fatal(err)
		}
	}
	if made := n - have.Total; made > 0 {
		b.Logf("%d twins made in %v", made, time.Since(began))
	}
	return db
}

// someConnected is a hub with every hundredth device connected.
type someConnected struct{ n int }

func (h someConnected) State(id causeway.Identity) presence.State {
	i, err := strconv.Atoi(id.Device[len("device-"):])
	return presence.State{Connected: err == nil && i%100 == 0}
}

func (h someConnected) Connected(_ bool, after causeway.Identity, limit int) (ids []causeway.Identity) {
	for i := 0; i < h.n && len(ids) < limit; i += 100 {
		if id := fmt.Sprintf("device-%07d", i); id > after.Device {
			ids = append(ids, causeway.Identity{Hub: "plant", Device: id})
		}
	}
	return ids
}

// BenchmarkQuery asks one page of queries over a fleet: those on hot paths, and
// those that look at every twin. The peak of the heap is a metric.
func BenchmarkQuery(b *testing.B) {
	n := 20_000
	if text := os.Getenv(benchTwins); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	db := fleet(b, n)
	service := query.New(query.Options{Registry: db.Registry(), Live: func(string) (query.Live, bool) { return someConnected{n}, true }})
	for _, x := range []struct {
		name, text string
		items      int // of the first page; -1 for any number
	}{
		{"indexed/by id", "SELECT * FROM devices WHERE deviceId = 'device-0012345'", 1},
		{"indexed/ids", "SELECT * FROM devices WHERE deviceId IN ['device-0000001', 'device-0012345', 'device-0019999', 'nobody']", 3},
		{"indexed/prefix", "SELECT * FROM devices WHERE STARTSWITH(deviceId, 'device-00123')", 100},
		{"indexed/tag", "SELECT * FROM devices WHERE tags.site = 'site-77'", min(100, n/1000)},
		{"indexed/tag of many", "SELECT * FROM devices WHERE tags.floor = 7 AND properties.reported.battery < 50", 100},
		{"indexed/disabled", "SELECT * FROM devices WHERE status = 'disabled'", 100},
		{"indexed/enabled", "SELECT * FROM devices WHERE status = 'enabled'", 100},
		{"indexed/edge", "SELECT * FROM devices WHERE capabilities.iotEdge = true", min(100, n/1000)},
		{"indexed/connected", "SELECT * FROM devices WHERE connectionState = 'Connected'", 100},
		{"first page", "SELECT * FROM devices", 100},
		{"scan/reported, none", "SELECT * FROM devices WHERE properties.reported.battery > 1000", -1},
		{"scan/tags and reported, none", "SELECT deviceId FROM devices WHERE tags.line.name != 'line-3' AND properties.reported.telemetry.rate >= 300", -1},
		{"scan/whole twins, none", "SELECT deviceId FROM devices WHERE authenticationType = 'none' OR properties.desired.$version = 77 OR tags.floor > 10", -1},
		{"count/all", "SELECT COUNT() AS n FROM devices", 1},
		{"count/where", "SELECT COUNT() AS n FROM devices WHERE properties.reported.fw = '1.7.0'", 1},
		{"count/status", "SELECT status, COUNT() AS n FROM devices GROUP BY status", 2},
		{"count/connection", "SELECT connectionState, COUNT() AS n FROM devices GROUP BY connectionState", 2},
		{"count/reported", "SELECT properties.reported.fw AS fw, COUNT() AS n, AVG(properties.reported.battery) AS battery FROM devices GROUP BY properties.reported.fw", 20},
		{"count/tag", "SELECT COUNT() AS n FROM devices WHERE tags.floor = 7", 1},
	} {
		b.Run(x.name, func(b *testing.B) {
			stop := peakHeap(b)
			for b.Loop() {
				looked := time.Now()
				items, token := 0, ""
				for { // of a query that looks long, pages until it has found something
					p, err := service.Query(b.Context(), "plant", x.text, 0, token)
					if err != nil {
						b.Fatal(err)
					}
					items += len(p.Items)
					if token = p.Token; token == "" || items > 0 {
						break
					}
				}
				if x.items >= 0 && items != x.items {
					b.Fatalf("%d items, want %d (after %v)", items, x.items, time.Since(looked))
				}
			}
			stop()
		})
	}
}

// peakHeap reports how high the heap rises until the returned function is
// called.
func peakHeap(b *testing.B) (stop func()) {
	runtime.GC()
	done, ended := make(chan struct{}), make(chan uint64)
	go func() {
		var peak uint64
		var m runtime.MemStats
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			select {
			case <-tick.C:
			case <-done:
				ended <- peak
				return
			}
		}
	}()
	return func() {
		close(done)
		b.ReportMetric(float64(<-ended)/(1<<20), "MiB-heap")
	}
}
