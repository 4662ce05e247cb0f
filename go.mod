module sealpost

go 1.26
