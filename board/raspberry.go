package board

// The lights of a Raspberry Pi are four LEDs, each with a resistor, between the
// header and ground; the button is between the header and ground. All are side
// by side: pins 11, 13, 15 and 16 with ground on 9 and 14, the button on 18 with
// ground on 20.
//
// A Pi without them has its own green light, which shows the whole state.
//
// tree is the device tree, without its folder and ending.
func raspberry(name, title, chip, tree string, compatible ...string) Profile {
	line := func(n int) Line { return Line{Chip: chip, Number: n} }
	return Profile{
		Name: name, Title: title, Compatible: compatible, DeviceTree: "broadcom/" + tree + ".dtb",
		Lights: []Light{
			{Name: Status, Line: line(17)},
			{Name: Network, Line: line(27)},
			{Name: Mail, Line: line(22)},
			{Name: Alert, Line: line(23)},
		},
		Onboard: Light{Name: Status, LED: "ACT"},
		Button:  Button{Line: line(24), ActiveLow: true, PullUp: true},
	}
}

// raspi3b is the Raspberry Pi 3, whose network card is on USB. QEMU's raspi3b is
// one with another card.
func raspi3b() Profile {
	p := raspberry("raspi3b", "Raspberry Pi 3", "pinctrl-bcm2835", "bcm2837-rpi-3-b", "raspberrypi,3-model-b", "raspberrypi,3-model-b-plus")
	p.Console = "ttyS1,115200" // the header's serial line; the better one has the Bluetooth chip
	p.Modules = []string{
		"dwc2", "?phy_generic", "usbnet", "smsc95xx", "lan78xx", "cdc_ether", "rndis_host",
		"bcm2835", "sdhci_iproc", "?bcm2835_rng", "?bcm2835_wdt",
	}
	return p
}

// raspi4b is the Raspberry Pi 4. Its red light is free for the kernel.
func raspi4b() Profile {
	p := raspberry("raspi4b", "Raspberry Pi 4", "pinctrl-bcm2711", "bcm2711-rpi-4-b", "raspberrypi,4-model-b")
	p.FaultLED = "PWR"
	p.Modules = []string{"genet", "?broadcom", "?mdio_bcm_unimac", "sdhci_iproc", "?iproc_rng200", "?bcm2835_wdt"}
	return p
}

// raspiZero2W is the Raspberry Pi Zero 2 W with a network card on USB.
func raspiZero2W() Profile {
	p := raspberry("raspi-zero-2w", "Raspberry Pi Zero 2 W", "pinctrl-bcm2835", "bcm2837-rpi-zero-2-w", "raspberrypi,model-zero-2-w")
	p.Modules = []string{
		"dwc2", "?phy_generic", "usbnet", "?smsc95xx", "?lan78xx", "?cdc_ether", "?rndis_host", "?asix", "?ax88179_178a", "?r8152",
		"bcm2835", "sdhci_iproc", "?bcm2835_rng", "?bcm2835_wdt",
	}
	return p
}
