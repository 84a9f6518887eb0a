package hubquery_test

import (
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// row is a row made of one JSON document.
type row string

func (r row) Lookup(p *hubquery.Path) hubquery.Value {
	var steps []hubquery.Segment
	member := func(names ...string) {
		for _, n := range names {
			steps = append(steps, hubquery.Segment{Name: n})
		}
	}
	switch p.Root {
	case hubquery.DeviceID:
		member("deviceId")
	case hubquery.ModuleID:
		member("moduleId")
	case hubquery.Status:
		member("status")
	case hubquery.Tags:
		member("tags")
	case hubquery.Desired:
		member("properties", "desired")
	case hubquery.Reported:
		member("properties", "reported")
	case hubquery.Properties:
		member("properties")
	case hubquery.Capabilities:
		member("capabilities")
	case hubquery.Configurations:
		member("configurations")
	case hubquery.ParentScopes:
		member("parentScopes")
	case hubquery.JobID:
		member("jobId")
	default:
		return hubquery.Undefined
	}
	return hubquery.Descend([]byte(r), append(steps, p.Segments...))
}

// sample is the twin of the table of examples, and some more.
const sample row = `{"deviceId":"d1","status":"enabled","capabilities":{"iotEdge":true},
 "parentScopes":["ms-azure-iot-edge://e-1"],"configurations":{"my-cfg":{"status":"Applied"}},
 "tags":{"n":5,"s":"5","o":{"k":1},"a":["x",2,null,{"b":true}],"G":true,"group":{"name":"x"},"top":1,
  "text":"heLLo wörld 🙂","big":12345678901234567890,"exp":1.50e1,"esc\"aped":1,"my-tag":"y"},
 "properties":{"desired":{"$version":3,"v":null,"f":0.5},"reported":{"lastDesiredVersion":3,"temp":21.5,"State":"on"}}}`

// match compiles a WHERE and asks it of a row.
func match(t *testing.T, where string, r hubquery.Row) bool {
	t.Helper()
	q, err := hubquery.Parse("SELECT * FROM devices WHERE " + where)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	p, err := hubquery.Compile(q)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	got := p.Condition().Match(r)
	// What must be true of every row that matches must be true of this one.
	for _, c := range p.Condition().Conjuncts() {
		if got && !c.Holds(r) {
			t.Errorf("%s matches, and its conjunct %v does not hold", where, c)
		}
	}
	c, err := hubquery.ParseCondition(where)
	if err != nil {
		t.Fatalf("condition %s: %v", where, err)
	}
	if c.Match(r) != got {
		t.Errorf("%s: a condition says %v, a query %v", where, !got, got)
	}
	return got
}

// TestCorpus: all that clients and the documentation are seen to send.
func TestCorpus(t *testing.T) {
	for _, text := range []string{
		`select * from devices`,
		`SELECT deviceId FROM devices`,
		`SELECT deviceId, deviceScope FROM devices`,
		`select *`,
		`SELECT * FROM devices.modules`,
		`SELECT * FROM devices WHERE tags.location.region = 'US' AND properties.reported.telemetryConfig.sendFrequencyInSecs >= 300`,
		`SELECT * FROM devices WHERE is_defined(properties.reported.connectivity) AND properties.reported.connectivity IN ['wired', 'wifi']`,
		`SELECT properties.reported.telemetryConfig.status AS status, COUNT() AS numberOfDevices FROM devices GROUP BY properties.reported.telemetryConfig.status`,
		`SELECT COUNT() as totalNumberOfDevices FROM devices`,
		`SELECT LastActivityTime FROM devices WHERE status = 'enabled'`,
		`SELECT * FROM devices WHERE connectionState = 'Disconnected' and lastActivityTime <= '2024-01-01T00:00:00'`,
		`SELECT * FROM devices WHERE capabilities.iotEdge=true`,
		`SELECT * FROM devices WHERE STARTSWITH(devices.deviceId, 'dev')`,
		`select * from devices where startsWith(id,'p')`,
		`select * from devices where deviceId in ['a','b']`,
		`SELECT * FROM devices.modules WHERE deviceId in ['d']`,
		`SELECT * FROM devices.modules WHERE devices.modules.moduleId='$edgeAgent' AND deviceId in ['d']`,
		`select * from devices.modules where devices.deviceId = 'd'`,
		`select properties.reported.State from devices.modules where devices.modules.moduleId='x' and devices.deviceId='y'`,
		`select moduleId from devices.modules where tags.location='US'`,
		`select deviceId from devices where array_contains(parentScopes, 'ms-azure-iot-edge://e-1')`,
		`SELECT deviceId as DeviceId, status as Status, lastActivityTime as LastActivityTime, statusUpdatedTime as StatusUpdatedTime, authenticationType as AuthenticationType, cloudToDeviceMessageCount as CloudToDeviceMessageCount, connectionState as ConnectionState, capabilities.iotEdge as IotEdge, modelId as ModelId FROM devices WHERE (capabilities.iotEdge=true AND status='enabled')`,
		`SELECT * FROM devices WHERE tags.[[group]].name = 'x'`,
		`SELECT * FROM devices WHERE modelId = 'dtmi:com:example:Thermostat;1'`,
		`SELECT TOP 10 * FROM devices WHERE properties.desired.$version != properties.reported.lastDesiredVersion`,
		`SELECT * FROM devices WHERE properties.reported.battery < 0x20 OR NOT (tags.a + 1 = 2)`,
		`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'myJobId' AND devices.jobs.status = 'failed'`,
		// The queries of system metrics, and of the documentation on jobs.
		`select deviceId from devices where configurations.[[my-cfg:1+%']].status = 'Applied'`,
		`select deviceId, moduleId from devices.modules where configurations.[[c]].status = 'Applied'`,
		`select deviceId from devices where capabilities.iotEdge = true and tags.env='prod'`,
		`select deviceId from devices.modules where moduleId = '$edgeAgent' and configurations.[[c]].status = 'Applied' and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code = 200`,
		`SELECT * FROM devices.jobs WHERE devices.jobs.deviceId = 'd' AND devices.jobs.jobType = 'scheduleUpdateTwin' AND devices.jobs.createdTimeUtc > '2016-09-01'`,
		"SELECT /* all\nof them */ * FROM devices;",
		`SELECT * FROM devices WHERE deviceId = 192.168.1.1`, // not quoted by IoT Explorer
	} {
		q, err := hubquery.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if _, err := hubquery.Compile(q); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestWhere: what the truth of conditions is. Those marked open are not
// documented for the service; what is here is what we chose.
func TestWhere(t *testing.T) {
	const open = true
	for _, x := range []struct {
		where string
		want  bool
		open  bool
	}{
		{where: `deviceId = 'd1'`, want: true},
		{where: `deviceId = 'D1'`, want: false},
		{where: `tags.n = 5`, want: true},
		{where: `tags.N = 5`, want: false},
		{where: `tags.zz != 1`, want: false},
		{where: `NOT IS_DEFINED(tags.zz)`, want: true},
		{where: `tags.o = 1`, want: false},
		{where: `tags.G`, want: true},
		{where: `tags.s IN ['4','5']`, want: true},
		{where: `tags.zz NIN [1]`, want: false},
		{where: `properties.desired.$version = properties.reported.lastDesiredVersion`, want: true},
		{where: `ARRAY_CONTAINS(tags.a,'x')`, want: true},
		{where: `STARTSWITH(tags.s,'5')`, want: true},
		{where: `tags.n = 5 AND tags.zz = 1`, want: false},
		{where: `configurations.[[c-1]].status = 'Applied'`, want: false},
		{where: `DEVICEID = 'd1'`, want: true},
		{where: `devices.deviceId='d1'`, want: true},
		{where: `tags.n = '5'`, want: false, open: open},
		{where: `TAGS.n = 5`, want: true},
		{where: `NOT (tags.zz = 1)`, want: false},
		{where: `is_defined(tags.o)`, want: true},
		{where: `tags.o.k + 1 = 2`, want: true},
		{where: `tags.n`, want: false},
		{where: `tags.n NIN [1,2]`, want: true},
		{where: `tags.zz = 1 OR status='enabled'`, want: true},
		{where: `properties.reported.temp > 0x10`, want: true},
		{where: `tags.a = 'x'`, want: false},
		{where: `STARTSWITH(tags.n,'5')`, want: false},

		// Paths.
		{where: `Properties.Reported.temp = 21.5`, want: true},
		{where: `properties.reported.Temp = 21.5`, want: false},
		{where: `devices.modules.deviceId = 'd1'`, want: true},
		{where: `id = 'd1'`, want: true},
		{where: `configurations.[[my-cfg]].status = 'Applied'`, want: true},
		{where: `tags.[[my-tag]] = 'y'`, want: true},
		{where: `tags['my-tag'] = 'y'`, want: true, open: open},
		{where: `tags.[[esc"aped]] = 1`, want: true},
		{where: `tags.group.name = 'x'`, want: true, open: open}, // a keyword as a member
		{where: `tags.top = 1`, want: true, open: open},
		{where: `tags.a[0] = 'x'`, want: true, open: open},
		{where: `tags.a[3].b`, want: true, open: open},
		{where: `tags.a[9] = 1`, want: false, open: open},
		{where: `tags.a.x = 1`, want: false},
		{where: `tags.n.x = 1`, want: false},
		{where: `nothing = 1 OR NOT IS_DEFINED(nothing.below)`, want: true, open: open},
		{where: `capabilities.iotedge = true`, want: false, open: open},

		// null and undefined.
		{where: `properties.desired.v = null`, want: true, open: open},
		{where: `properties.desired.v != null`, want: false, open: open},
		{where: `IS_DEFINED(properties.desired.v)`, want: true},
		{where: `IS_DEFINED(properties.desired.v.below)`, want: false},
		{where: `properties.desired.v <= null`, want: true},
		{where: `properties.desired.v < null`, want: false},
		{where: `tags.zz = null`, want: false},
		{where: `tags.zz = undefined`, want: false},
		{where: `tags.s != null`, want: false, open: open},
		{where: `tags.zz IN [undefined]`, want: false},
		{where: `properties.desired.v IN [null]`, want: true, open: open},
		{where: `tags.o IN [1]`, want: false},
		{where: `tags.o NIN [1]`, want: false, open: open},
		{where: `tags.n IN []`, want: false},
		{where: `tags.n NIN []`, want: true},
		{where: `tags.n NOT IN [5]`, want: false},
		{where: `tags.n IN [-5, +5]`, want: true},
		{where: `tags.n NIN ['5']`, want: true, open: open},

		// Three values.
		{where: `tags.zz = 1 AND status = 'disabled'`, want: false},
		{where: `NOT (tags.zz = 1 AND status = 'disabled')`, want: true},
		{where: `NOT (tags.zz = 1 OR status = 'disabled')`, want: false},
		{where: `NOT (tags.n = 5 AND tags.zz = 1)`, want: false},
		{where: `NOT tags.n`, want: false},
		{where: `NOT NOT tags.G`, want: true},
		{where: `NOT NOT tags.n`, want: false},
		{where: `NOT tags.s = 'b' AND tags.G`, want: true}, // NOT binds less than =
		{where: `tags.G OR tags.zz`, want: true},
		{where: `tags.G AND tags.n`, want: false},
		{where: `status = 'disabled' OR tags.G AND tags.n = 5`, want: true},
		{where: `(status = 'disabled' OR tags.G) AND tags.n = 6`, want: false},

		// Order.
		{where: `tags.s < 'B' AND 'a' > 'B' AND 'ab' > 'a'`, want: true},
		{where: `'\uE000' > '🙂'`, want: true}, // by units of UTF-16
		{where: `false < true AND true >= true`, want: true},
		{where: `'5' < 6`, want: false, open: open},
		{where: `tags.o <= tags.o`, want: false},
		{where: `"d\u0031" = deviceId AND 'it''s' = "it's" AND '\'' = "'"`, want: true},
		{where: `'\ud83d\ude42' = '🙂'`, want: true},

		// Numbers.
		{where: `tags.exp = 15 AND 1e3 = 1000 AND 0xfF = 255 AND -1 < 0 AND - -1 = 1`, want: true},
		{where: `1 + 2 * 3 = 7 AND (1 + 2) * 3 = 9 AND 7 % 4 = 3 AND 7 - 4 - 2 = 1 AND 8 / 4 / 2 = 1`, want: true},
		{where: `1 / 0 = 1 OR NOT (1 / 0 = 1)`, want: false},
		{where: `1 % 0 = 0 OR tags.s + 1 = 6 OR -tags.s = -5`, want: false},
		{where: `tags.n-1=4`, want: true},
		{where: `-tags.n = -5 AND +tags.n = 5`, want: true},
		{where: `deviceId = 192.168.1.1`, want: false},

		// Functions.
		{where: `ENDSWITH(tags.text, '🙂') AND CONTAINS(tags.text, 'LLo') AND NOT CONTAINS(tags.text, 'llo')`, want: true},
		{where: `STARTS_WITH(deviceId, 'd') AND ENDS_WITH(deviceId, '1')`, want: true, open: open},
		{where: `ARRAY_CONTAINS(tags.a, 2) AND ARRAY_CONTAINS(tags.a, null) AND NOT ARRAY_CONTAINS(tags.a, '2')`, want: true, open: open},
		{where: `ARRAY_CONTAINS(tags.n, 5) OR NOT ARRAY_CONTAINS(tags.n, 5) OR NOT ARRAY_CONTAINS(tags.a, tags.zz)`, want: false, open: open},
		{where: `ARRAY_CONTAINS(['a', 'b'], 'b')`, want: true, open: open},
		{where: `IS_NULL(properties.desired.v) AND IS_BOOL(tags.G) AND IS_NUMBER(tags.n) AND IS_STRING(tags.s) AND IS_ARRAY(tags.a) AND IS_OBJECT(tags.o)`, want: true, open: open},
		{where: `IS_NULL(tags.zz) OR IS_BOOL(tags.n) OR IS_NUMBER(tags.s) OR IS_STRING(tags.n) OR IS_ARRAY(tags.o) OR IS_OBJECT(tags.a) OR IS_PRIMITIVE(tags.o)`, want: false, open: open},
		{where: `IS_PRIMITIVE(tags.s) AND IS_PRIMITIVE(properties.desired.v) AND NOT IS_PRIMITIVE(tags.zz)`, want: true, open: open},
		{where: `ABS(-3) = 3 AND EXP(0) = 1 AND POWER(2,10) = 1024 AND SQUARE(4) = 16 AND CEILING(-1.5) = -1 AND FLOOR(-1.5) = -2 AND SIGN(-9) = -1 AND SIGN(0) = 0 AND SIGN(3) = 1 AND SQRT(9) = 3`, want: true, open: open},
		{where: `SQRT(-4) = 2 OR ABS(tags.s) = 5 OR POWER('2', 2) = 4 OR EXP(1000) > 0`, want: false, open: open},
		{where: `AS_NUMBER(tags.s) = 5 AND AS_NUMBER(' 1.5e1 ') = 15 AND AS_NUMBER(5) = 5`, want: true, open: open},
		{where: `AS_NUMBER('0x10') = 16 OR AS_NUMBER('inf') > 0 OR AS_NUMBER(true) = 1 OR AS_NUMBER('') = 0`, want: false, open: open},
		{where: `LENGTH('🙂x') = 3 AND LOWER(tags.text) = 'hello wörld 🙂' AND UPPER('abc') = 'ABC'`, want: true, open: open},
		{where: `LENGTH(tags.n) = 1 OR LOWER(tags.n) = '5'`, want: false, open: open},
		{where: `SUBSTRING('hello', 1) = 'ello' AND SUBSTRING('hello', 5) = '' AND SUBSTRING('hello', 1, 3) = 'ell'`, want: true, open: open},
		{where: `SUBSTRING('hello', 6) = '' OR SUBSTRING('hello', 5, 0) = '' OR SUBSTRING('hello', 0, 9) = 'hello' OR SUBSTRING('hello', -1) = 'o' OR SUBSTRING(1, 1) = ''`, want: false, open: open},
		{where: `INDEX_OF('hello', 'l') = 2 AND INDEX_OF('hello', 'q') = -1 AND INDEX_OF('🙂x', 'x') = 2`, want: true, open: open},
		{where: `INDEX_OF(5, '5') = 0`, want: false, open: open},
		{where: `CONCAT(tags.s, '-', status) = '5-enabled' AND CONCAT(null, 'x') = 'x'`, want: true, open: open},
		{where: `CONCAT(tags.zz, 'x') = 'x' OR CONCAT(tags.n, 'x') = '5x'`, want: false, open: open},
		{where: `/* c */ tags.n /* d */ = /**/ 5`, want: true},
	} {
		if got := match(t, x.where, sample); got != x.want {
			t.Errorf("%s: %v, want %v (open: %v)", x.where, got, x.want, x.open)
		}
	}
	// The longest text that functions make.
	long := strings.Repeat("tags.l,", 8)
	if !match(t, "LENGTH(CONCAT("+long+"'')) = 64000", row(`{"tags":{"l":"`+strings.Repeat("x", 8000)+`"}}`)) {
		t.Error("64000 characters are too long")
	}
	if match(t, "IS_STRING(CONCAT("+long+long+"''))", row(`{"tags":{"l":"`+strings.Repeat("x", 8000)+`"}}`)) {
		t.Error("128000 characters are not too long")
	}
}
