package hubamqp_test

import "github.com/causeway-iot/causeway"

func props(kv ...string) []causeway.Property {
	var ps []causeway.Property
	for i := 0; i < len(kv); i += 2 {
		ps = append(ps, causeway.Property{Key: kv[i], Value: kv[i+1]})
	}
	return ps
}
