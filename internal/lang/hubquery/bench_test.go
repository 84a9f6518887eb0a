package hubquery_test

import (
	"testing"

	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// tagsRow is a row of which only the tags are there, found as those of a twin.
type tagsRow []byte

func (r tagsRow) Lookup(p *hubquery.Path) hubquery.Value {
	if p.Root != hubquery.Tags {
		return hubquery.Undefined
	}
	return hubquery.Descend(r, p.Segments)
}

// BenchmarkMatch asks a condition of two values of a row.
func BenchmarkMatch(b *testing.B) {
	c, err := hubquery.ParseCondition("tags.line.name != 'line-3' AND tags.floor >= 3")
	if err != nil {
		b.Fatal(err)
	}
	row := hubquery.Row(tagsRow(`{"site":"site-77","floor":7,"line":{"name":"line-5"}}`))
	b.ReportAllocs()
	for b.Loop() {
		if !c.Match(row) {
			b.Fatal("no match")
		}
	}
}

// BenchmarkCompile reads and checks a query as IoT Explorer sends it.
func BenchmarkCompile(b *testing.B) {
	const text = `SELECT deviceId as DeviceId, status as Status, lastActivityTime as LastActivityTime, connectionState as ConnectionState, capabilities.iotEdge as IotEdge FROM devices WHERE (capabilities.iotEdge=true AND status='enabled')`
	b.ReportAllocs()
	for b.Loop() {
		q, err := hubquery.Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := hubquery.Compile(q); err != nil {
			b.Fatal(err)
		}
	}
}
