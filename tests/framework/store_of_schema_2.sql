BEGIN TRANSACTION;
CREATE TABLE attempts (
	job_id VARCHAR NOT NULL, 
	instance INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	is_current BOOLEAN NOT NULL, 
	state VARCHAR NOT NULL, 
	created_at FLOAT NOT NULL, 
	not_before FLOAT NOT NULL, 
	charged_before INTEGER NOT NULL, 
	free_before INTEGER NOT NULL, 
	agent_id VARCHAR, 
	hostname VARCHAR, 
	agent_url VARCHAR, 
	executor_id VARCHAR, 
	container_id VARCHAR, 
	launched_at FLOAT, 
	running_at FLOAT, 
	ended_at FLOAT, 
	end_state VARCHAR, 
	reason VARCHAR, 
	message VARCHAR, 
	avoid_s FLOAT, 
	record VARCHAR, 
	retry VARCHAR, 
	measured VARCHAR, 
	PRIMARY KEY (job_id, instance, number)
);
INSERT INTO "attempts" VALUES('2q00001',0,1,0,'killed',1.0,1.0,0,0,'S0','h7','http://h7:5051','serenity-1',NULL,2.0,NULL,3.0,'killed','QOS_MEMORY','because',300.0,'{"id":"k1","decided_at":1.0,"agent":{"id":"S0","hostname":"h7"},"killed":{"task":"j.0.1","job":"j","attempt":1,"ran_for_s":1.0,"resources":{"cpus":1.0,"mem_bytes":1}},"reason":"QOS_MEMORY","detail":"","cause":null,"protected":null,"signal":null,"window":null,"detector":null,"selection":null,"ladder":[],"graceful":null,"exit":null,"retry":{"charged":false,"attempt":2,"not_before":15.635630498533725,"avoid":["h7"]},"outcome":null,"schema":1}','{"charged":false,"attempt":2,"not_before":15.635630498533725,"avoid":["h7"]}','{"exit_code":null,"signal":9,"cpu_s":1.5,"peak_mem_bytes":1048576}');
INSERT INTO "attempts" VALUES('2q00001',1,1,1,'launching',1.0,1.0,0,0,'S0','h7','http://h7:5051','serenity-1',NULL,2.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "attempts" VALUES('2q00001',0,2,1,'pending',3.0,1.56356304985337253295e+01,0,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE cooldowns (
	job_id VARCHAR NOT NULL, 
	agent_id VARCHAR NOT NULL, 
	hostname VARCHAR NOT NULL, 
	until FLOAT NOT NULL, 
	PRIMARY KEY (job_id, agent_id)
);
INSERT INTO "cooldowns" VALUES('2q00001','S0','h7',99.0);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	job_id VARCHAR, 
	event VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,'2q00001','{"id":1,"at":1.0,"type":"job","job":"2q00001","name":"web","task":null,"state":"submitted","hostname":null,"reason":null,"text":"submitted","body":null}');
INSERT INTO "events" VALUES(2,'2q00001','{"id":2,"at":2.0,"type":"attempt","job":"2q00001","name":"web","task":"2q00001.0.1","state":"launching","hostname":"h7","reason":null,"text":"launching on h7","body":null}');
INSERT INTO "events" VALUES(3,'2q00001','{"id":3,"at":2.0,"type":"attempt","job":"2q00001","name":"web","task":"2q00001.1.1","state":"launching","hostname":"h7","reason":null,"text":"launching on h7","body":null}');
INSERT INTO "events" VALUES(4,'2q00001','{"id":4,"at":3.0,"type":"kill","job":"2q00001","name":"web","task":"2q00001.0.1","state":"killed","hostname":"h7","reason":"QOS_MEMORY","text":"killed by QoS on h7: memory on the agent was running out; retry 2, free, in 13 s, avoiding h7","body":{"id":"k1","decided_at":1.0,"agent":{"id":"S0","hostname":"h7"},"killed":{"task":"j.0.1","job":"j","attempt":1,"ran_for_s":1.0,"resources":{"cpus":1.0,"mem_bytes":1}},"reason":"QOS_MEMORY","detail":"","cause":null,"protected":null,"signal":null,"window":null,"detector":null,"selection":null,"ladder":[],"graceful":null,"exit":null,"retry":{"charged":false,"attempt":2,"not_before":15.635630498533725,"avoid":["h7"]},"outcome":null,"schema":1}}');
CREATE TABLE executors (
	agent_id VARCHAR NOT NULL, 
	id VARCHAR NOT NULL, 
	template_digest VARCHAR NOT NULL, 
	info VARCHAR NOT NULL, 
	PRIMARY KEY (agent_id, id)
);
INSERT INTO "executors" VALUES('S0','serenity-1','d','{"resources":[]}');
CREATE TABLE facts (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "facts" VALUES('schema_version','2');
INSERT INTO "facts" VALUES('framework_id','F1');
CREATE TABLE jobs (
	id VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	request VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	counts VARCHAR NOT NULL, 
	kills INTEGER NOT NULL, 
	submitted_at FLOAT NOT NULL, 
	kill_requested_at FLOAT, 
	ended_at FLOAT, 
	PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES('2q00001','web','{"command":["sh","-c","true"],"name":null,"cpus":0.5,"mem_bytes":536870912,"instances":2,"max_retries":3,"max_runtime_s":null,"grace_s":5.0,"priority":0,"user":null,"env":{"A":"ä"},"labels":{}}','pending','{"pending":1,"launching":1}',1,1.0,NULL,NULL);
CREATE INDEX ix_jobs_name ON jobs (name);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_events_job_id ON events (job_id);
COMMIT;
