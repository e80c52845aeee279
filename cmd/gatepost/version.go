package main

import (
	"strconv"
	"time"

	"gatepost/appliance"
)

// Stamped by the linker: -X main.version=0.1.0 -X main.buildTime=1767225600.
var (
	version   = "dev"
	buildTime = "0" // seconds since 1970
)

func stamped() appliance.InitOptions {
	seconds, _ := strconv.ParseInt(buildTime, 10, 64)
	return appliance.InitOptions{Version: version, Built: time.Unix(seconds, 0)}
}
